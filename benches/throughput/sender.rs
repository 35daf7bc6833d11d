//! The process that is measured: it makes events as fast as one thread can, and has them delivered.

use std::hint::black_box;
use std::time::{Duration, Instant};

use posthog_health::CaptureProtocol::{self, V0, V1};
use posthog_health::PostHog;
use posthog_health::posthog_rs::{self, CaptureCompression};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::support::checkout::typed_event;
use crate::support::process::{memory, tell};
use crate::support::times::cpu_time;
use crate::support::{Arguments, event, ours_unbounded, theirs_unbounded};

/// What it finds.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// From the first capture until the last event is delivered.
    pub(crate) took: Duration,
    /// Of the process, in that time.
    pub(crate) cpu: Duration,
    pub(crate) peak: u64,
}

/// What is to be done.
struct Task {
    url: String,
    events: usize,
    batch: usize,
    gzip: bool,
}

pub(crate) fn run(role: &str, arguments: &Arguments) {
    let number = |flag| arguments.value(flag).map_or(100, |value| value.parse().expect("a number"));
    let task = Task {
        url: arguments.value("--url").unwrap_or_default().to_owned(),
        events: number("--events"),
        batch: number("--batch"),
        gzip: arguments.value("--gzip") == Some("on"),
    };
    let runtime = Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    tell(&match role {
        "events" => task.building(event),
        "typed-events" => task.building(typed_event),
        "ours" => task.ours(&runtime, V0, |posthog, number| posthog.capture(event(number))),
        "ours-v1" => task.ours(&runtime, V1, |posthog, number| posthog.capture(event(number))),
        "typed" => task.ours(&runtime, V0, |posthog, number| posthog.capture(typed_event(number))),
        "theirs" => task.theirs(&runtime),
        other => panic!("--role is sink, events, typed-events, ours, ours-v1, typed or theirs, not {other}"),
    });
    // Dropping the SDK's client may block.
    std::process::exit(0);
}

impl Task {
    /// The control: what making the events costs, whoever sends them.
    fn building<T>(&self, make: impl Fn(usize) -> T) -> Finding {
        measure(|| (0..self.events).for_each(|number| drop(black_box(make(number)))))
    }

    fn ours(
        &self,
        runtime: &Runtime,
        protocol: CaptureProtocol,
        capture: impl Fn(&PostHog, usize),
    ) -> Finding {
        let posthog = ours_unbounded(&self.url, self.events)
            .capture_protocol(protocol)
            .batch_events(self.batch)
            .gzip(self.gzip)
            .build()
            .expect("a good configuration");
        measure(|| {
            (0..self.events).for_each(|number| capture(&posthog, number));
            runtime.block_on(posthog.flush()).expect("a healthy server");
        })
    }

    fn theirs(&self, runtime: &Runtime) -> Finding {
        let mut options = theirs_unbounded(&self.url, self.events);
        options.flush_at(self.batch).max_batch_size(self.batch);
        if self.gzip {
            options.capture_compression(CaptureCompression::Gzip);
        }
        let client = runtime.block_on(posthog_rs::client(options.build().expect("complete options")));
        measure(|| {
            (0..self.events).for_each(|number| client.capture(event(number)));
            runtime.block_on(client.flush());
        })
    }
}

fn measure(work: impl FnOnce()) -> Finding {
    let (started, cpu) = (Instant::now(), cpu_time());
    work();
    Finding { took: started.elapsed(), cpu: cpu_time() - cpu, peak: memory("VmHWM") }
}

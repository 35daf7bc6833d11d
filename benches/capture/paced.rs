//! As services do it: a call, and nothing for a while.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{DropReason, Event, TypedEvent};

use crate::support::checkout::typed_event;
use crate::support::subject::{Ours, Subject, Theirs};
use crate::support::times::{Times, cpu_time_behind};
use crate::support::{DEFAULT_QUEUE, cells, nanos, print_columns, server};
use crate::{Comparison, ours_plain, timed, warm};

const LASTING: Duration = Duration::from_secs(4);
/// Between two captures of a busy service, and of a calm one.
const BUSY: Duration = Duration::from_micros(200);
const CALM: Duration = Duration::from_millis(1);
/// Of the thread that makes the load.
const LOAD: Duration = Duration::from_micros(100);
const REQUIRED: u64 = 50_000;

pub(crate) fn run(prototype: &Event) {
    println!("One every so often for {LASTING:?} each, from a thread that sleeps in between.");
    println!(
        "Under load another thread captures one every {LOAD:?}; in the outage PostHog hangs and queues of"
    );
    println!("{DEFAULT_QUEUE} overflow.\n");
    let mut times = Comparison::new("one every");
    let mut costs = vec![cells![
        "CPU of an event",
        "ours, no gzip",
        "posthog-rs, no gzip",
        "ours / theirs",
        "ours, as by default",
        "ours / theirs",
        "typed, no gzip",
        "ours / theirs"
    ]];
    for every in [BUSY, CALM] {
        let (our_times, ours) = idle(every, prototype, &|server| Box::new(ours_plain(server, DEFAULT_QUEUE)));
        let (their_times, theirs) =
            idle(every, prototype, &|server| Box::new(Theirs::start(server, DEFAULT_QUEUE)));
        let by_default = idle(every, prototype, &|server| Box::new(Ours::start(server, DEFAULT_QUEUE))).1;
        let typed = |server: &FakePostHog| -> Box<dyn Subject> {
            Box::new(Typed(ours_plain(server, DEFAULT_QUEUE), typed_event(7)))
        };
        let typed = idle(every, prototype, &typed).1;
        times.add(format!("{every:?}, idle"), &our_times, &their_times);
        let ratio = |cpu: f64| format!("{:.2}", cpu / theirs);
        costs.push(cells![
            format!("one every {every:?}"),
            nanos(ours),
            nanos(theirs),
            ratio(ours),
            nanos(by_default),
            ratio(by_default),
            nanos(typed),
            ratio(typed)
        ]);
    }
    let our_times = loaded(prototype, |server| Box::new(ours_plain(server, DEFAULT_QUEUE)));
    let their_times = loaded(prototype, |server| Box::new(Theirs::start(server, DEFAULT_QUEUE)));
    times.add(format!("{CALM:?}, under load"), &our_times, &their_times);
    let (our_times, dropped) = our_outage(prototype);
    times.add(format!("{BUSY:?}, outage"), &our_times, &their_outage(prototype));
    times.print();
    let met = if our_times.percentile(0.99) < REQUIRED { "met" } else { "not met" };
    println!("in the outage ours dropped and counted {dropped}; requirement p99 < 50 µs: {met}\n");
    println!("CPU is the mean call's, and that of all other threads but the servers': delivery included.\n");
    print_columns(&costs);
}

/// Captures its own typed event in the place of each that it is given.
struct Typed(Ours, TypedEvent);

impl Subject for Typed {
    fn start(server: &FakePostHog, queue_events: usize) -> Self {
        Self(Ours::start(server, queue_events), typed_event(7))
    }

    fn disabled() -> Self {
        Self(Ours::disabled(), typed_event(7))
    }

    fn capture(&self, event: Event) {
        drop(black_box(event));
        self.0.client.capture(self.1.clone());
    }

    fn flush(&self) {
        self.0.flush();
    }

    fn end(self: Box<Self>) {
        Box::new(self.0).end();
    }
}

type Start = dyn Fn(&FakePostHog) -> Box<dyn Subject>;

/// The times, and nanoseconds of CPU an event: the call's, and what other threads do about it.
fn idle(every: Duration, prototype: &Event, start: &Start) -> (Times, f64) {
    let server = server();
    let subject = start(&server);
    warm(&*subject);
    let before = cpu_time_behind();
    let times = paced(every, prototype, &*subject);
    subject.flush();
    let cpu = cpu_time_behind().saturating_sub(before).as_nanos() as f64 / times.calls() as f64;
    subject.end();
    let cpu = cpu + times.mean();
    (times, cpu)
}

fn loaded(prototype: &Event, start: impl Fn(&FakePostHog) -> Box<dyn Subject>) -> Times {
    let server = server();
    let subject = start(&server);
    warm(&*subject);
    let over = AtomicBool::new(false);
    let times = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                subject.capture(prototype.clone());
                sleep(LOAD);
            }
        });
        let times = paced(CALM, prototype, &*subject);
        over.store(true, Ordering::Relaxed);
        times
    });
    subject.end();
    times
}

/// The times, and how many events were dropped.
fn our_outage(prototype: &Event) -> (Times, u64) {
    let server = server();
    server.always(Reply::hang());
    let subject = ours_plain(&server, DEFAULT_QUEUE);
    let times = paced(BUSY, prototype, &subject);
    (times, subject.client.stats().dropped.count(DropReason::QueueFull))
}

fn their_outage(prototype: &Event) -> Times {
    let server = server();
    server.always(Reply::hang());
    let subject = Theirs::start(&server, DEFAULT_QUEUE);
    let times = paced(BUSY, prototype, &subject);
    // Dropping it waits for the server.
    std::mem::forget(subject);
    times
}

/// Calls `capture` at its time, or as soon as can be after it.
fn paced(every: Duration, prototype: &Event, subject: &dyn Subject) -> Times {
    let mut times = Times::default();
    let started = Instant::now();
    let mut due = Duration::ZERO;
    while due < LASTING {
        sleep((started + due).saturating_duration_since(Instant::now()));
        timed(&mut times, prototype, subject);
        due += every;
    }
    times
}

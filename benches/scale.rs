//! Whether an event costs more when many wait. See README.md beside it.

mod support;

use std::path::PathBuf;
use std::process::exit;
use std::thread::sleep;
use std::time::{Duration, Instant};

use posthog_health::{PostHog, PostHogBuilder, SpoolConfig, SpoolState};
use serde::{Deserialize, Serialize};
use support::process::{Process, tell, wait};
use support::sink::{self, Sink};
use support::times::cpu_time;
use support::{Arguments, cells, event, nanos, ours_unbounded, print_columns};
use tokio::runtime::Runtime;

const LEAST: usize = 1_000;
/// So that short runs are as exact as long ones, they are repeated.
const EVENTS: usize = 100_000;
/// Into the spool at once.
const CALLERS: usize = 500;
/// The callers' events, the batch under way, and what is read back.
const IN_MEMORY: usize = 1_500;
/// Into the queue: as fast as can be, the encoder's backlog would be what is measured.
const BURST: usize = 1_000;
const PAUSE: Duration = Duration::from_millis(5);
const HOUR: Duration = Duration::from_secs(3600);

fn main() {
    let Some(arguments) = Arguments::read() else { return };
    match arguments.value("--role") {
        Some(sink::ROLE) => return sink::run(),
        Some(role) => client(role, &arguments),
        None => {}
    }
    let most = arguments.value("--most").map_or(1_000_000, |most| most.parse().expect("a number"));
    let only = arguments.value("--only");
    let wanted = |name| only.is_none_or(|only| only == name);
    let started = Instant::now();
    println!(
        "CPU of the process for an event while so many come to wait, PostHog hanging: captured and encoded, and"
    );
    println!(
        "with a spool written; and for one of them after the recovery, until it is delivered. Without making it.\n"
    );
    if wanted("queue") {
        table("in memory", "queue", most);
    }
    if wanted("spool") {
        table("on disk, 1,500 of them in memory", "spool", most);
    }
    if wanted("both") {
        table("on disk and in memory", "both", most.min(100_000));
    }
    println!("posthog-health/{}; took {} s", env!("CARGO_PKG_VERSION"), started.elapsed().as_secs());
}

fn table(what: &str, role: &str, most: usize) {
    let sizes = std::iter::successors(Some(LEAST), |size| Some(size * 10)).take_while(|size| *size <= most);
    let findings: Vec<(usize, Finding)> = sizes
        .map(|size| {
            let sink = Sink::start();
            let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
            let arguments: [(&str, &dyn std::fmt::Display); 3] =
                [("--url", &sink.url), ("--events", &size), ("--directory", &directory.path().display())];
            (size, Process::start(role, &arguments).supervised(sink))
        })
        .collect();
    let least =
        |of: fn(&Finding) -> f64| findings.iter().map(|(_, found)| of(found)).fold(f64::MAX, f64::min);
    let (fill, drain) = (least(|found| found.fill), least(|found| found.drain));
    let mut lines = vec![cells![what, "in", "ratio", "out", "ratio"]];
    lines.extend(findings.iter().map(|(size, found)| {
        cells![
            size,
            nanos(found.fill),
            format!("{:.2}", found.fill / fill),
            nanos(found.drain),
            format!("{:.2}", found.drain / drain)
        ]
    }));
    print_columns(&lines);
}

/// Nanoseconds of CPU an event.
#[derive(Serialize, Deserialize)]
struct Finding {
    fill: f64,
    drain: f64,
}

/// What a client says.
#[derive(Serialize, Deserialize)]
enum Said {
    Empty,
    Full,
    Done(Finding),
}

impl Process {
    /// Takes PostHog away while it fills, and brings it back when it is full.
    fn supervised(mut self, mut sink: Sink) -> Finding {
        loop {
            match self.told() {
                Said::Empty => sink.hang(),
                Said::Full => sink.recover(),
                Said::Done(finding) => return finding,
            }
            self.tell("go on");
        }
    }
}

/// The process that is measured.
fn client(role: &str, arguments: &Arguments) -> ! {
    let value = |flag| arguments.value(flag).expect("all its arguments");
    let events: usize = value("--events").parse().expect("a number");
    let directory = PathBuf::from(value("--directory"));
    let spool = SpoolConfig::at(&directory).max_bytes(8 << 30);
    let at = |queue| ours_unbounded(value("--url"), queue).request_timeout(HOUR).gzip(false);
    let builder = match role {
        "queue" => at(2 * events),
        "spool" => at(IN_MEMORY).in_flight(1).spool(spool),
        "both" => at(4 * events).spool(spool),
        other => panic!("--role is sink, queue, spool or both, not {other}"),
    };
    let runtime = Runtime::new().expect("a runtime");
    let finding = runtime.block_on(measure(builder, events, role != "queue"));
    tell(&Said::Done(finding));
    exit(0);
}

async fn measure(builder: PostHogBuilder, events: usize, has_spool: bool) -> Finding {
    let before = cpu_time();
    (0..EVENTS).for_each(|number| drop(event(number)));
    let making = (cpu_time() - before).as_nanos() as f64 / EVENTS as f64;
    let posthog = builder.build().expect("a good configuration");
    if has_spool {
        while posthog.health().spool.expect("a spool").state != SpoolState::Ready {
            sleep(Duration::from_millis(1));
        }
    }
    fill(&posthog, LEAST, has_spool).await;
    empty(&posthog).await;
    let rounds = (EVENTS / events).max(1);
    let (mut filling, mut draining) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..rounds {
        tell(&Said::Empty);
        wait();
        let before = cpu_time();
        fill(&posthog, events, has_spool).await;
        let full = cpu_time();
        filling += full - before;
        tell(&Said::Full);
        wait();
        empty(&posthog).await;
        draining += cpu_time() - full;
    }
    assert_eq!(posthog.stats().dropped.total(), 0);
    let an_event = |cpu: Duration| cpu.as_nanos() as f64 / (rounds * events) as f64;
    Finding { fill: an_event(filling) - making, drain: an_event(draining) }
}

/// Returns when they are where they wait.
async fn fill(posthog: &PostHog, events: usize, has_spool: bool) {
    if has_spool {
        let callers = CALLERS.min(events);
        let tasks: Vec<_> = (0..callers)
            .map(|caller| {
                let posthog = posthog.clone();
                tokio::spawn(async move {
                    for number in (caller * events / callers)..((caller + 1) * events / callers) {
                        posthog.capture_durable(event(number)).await.expect("a spool with room");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("it does not panic");
        }
        return;
    }
    for number in 0..events {
        posthog.capture(event(number));
        if number % BURST == BURST - 1 {
            tokio::time::sleep(PAUSE).await;
        }
    }
    // The encoder has ended when nothing is done any more.
    let mut before = Duration::MAX;
    while cpu_time().abs_diff(before) > Duration::from_micros(500) {
        before = cpu_time();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn empty(posthog: &PostHog) {
    posthog.flush().await.expect("a healthy server");
    while posthog.stats().queued + posthog.stats().spooled > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

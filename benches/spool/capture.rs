//! What `capture` costs its caller with a spool and without.

use std::path::Path;
use std::time::{Duration, Instant};

use posthog_health::testing::FakePostHog;
use posthog_health::{PostHog, SpoolMode};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::times::{Times, clock, wait_until};
use crate::support::{cells, event, nanos, print_columns, server};
use crate::{assert_nothing_lost, disk, down, is_ready, spool, temporary, unbounded, until};

const CHUNK: usize = 10_000;
const CHUNKS: usize = 10;
const TURN: usize = 500;
const TURNS: usize = 8;
const CALM: Duration = Duration::from_millis(1);

pub(crate) fn run(runtime: &Runtime) {
    let _inside = runtime.enter();
    let (directory, _) = disk();
    let prototype = event(1);
    println!(
        "capture: a call, by turns with no spool and with one. {} of each time is the clock's own.\n",
        clock()
    );
    let mut cases = cases(&directory);
    for case in &cases {
        case.warm(runtime);
    }
    for _ in 0..CHUNKS {
        for case in &mut cases {
            for _ in 0..CHUNK {
                let event = prototype.clone();
                case.tight.time(|| case.posthog.capture(event));
            }
            case.settle(runtime);
        }
    }
    for _ in 0..TURNS {
        for case in &mut cases {
            let started = Instant::now();
            for number in 0..TURN {
                let event = prototype.clone();
                wait_until(started + CALM * number as u32);
                case.calm.time(|| case.posthog.capture(event));
            }
            case.settle(runtime);
        }
    }
    println!("In a tight loop, {} calls in turns of {CHUNK}, settled in between.\n", CHUNK * CHUNKS);
    print(&cases, |case| &case.tight);
    println!("One every {CALM:?}, {} calls in turns of {TURN}, settled in between.\n", TURN * TURNS);
    print(&cases, |case| &case.calm);
    for case in cases {
        assert_nothing_lost(case.posthog.stats());
        runtime.block_on(case.posthog.shutdown(Duration::from_secs(1)));
    }
}

struct Case {
    name: &'static str,
    posthog: PostHog,
    tight: Times,
    calm: Times,
    is_up: bool,
    _server: FakePostHog,
    _directory: TempDir,
}

impl Case {
    fn new(name: &'static str, directory: &Path, mode: Option<SpoolMode>, is_up: bool) -> Self {
        let server = if is_up { server() } else { down() };
        let directory = temporary(directory);
        let mut builder = unbounded(&server).queue_events(4 * CHUNK);
        if let Some(mode) = mode {
            builder = builder.spool(spool(directory.path()).mode(mode));
        }
        let posthog = builder.build().expect("a good configuration");
        let (tight, calm) = Default::default();
        Self { name, posthog, tight, calm, is_up, _server: server, _directory: directory }
    }

    /// Starts threads, connects, fills caches; and lets the circuit breaker open.
    fn warm(&self, runtime: &Runtime) {
        if self.posthog.health().spool.is_some() {
            runtime.block_on(is_ready(&self.posthog));
        }
        (0..1_000).for_each(|number| self.posthog.capture(event(number)));
        self.settle(runtime);
    }

    /// Until all is delivered, or on disk.
    fn settle(&self, runtime: &Runtime) {
        if self.is_up {
            runtime.block_on(self.posthog.flush()).expect("a healthy server");
        } else {
            runtime.block_on(until(|| self.posthog.stats().queued == 0));
        }
    }
}

fn cases(directory: &Path) -> Vec<Case> {
    let case = |name, mode, is_up| Case::new(name, directory, mode, is_up);
    vec![
        case("no spool", None, true),
        case("overflow", Some(SpoolMode::Overflow), true),
        case("overflow, PostHog down", Some(SpoolMode::Overflow), false),
        case("write-ahead", Some(SpoolMode::WriteAhead), true),
    ]
}

fn print(cases: &[Case], times: impl Fn(&Case) -> &Times) {
    let percentiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];
    let mut heads = cells![""];
    heads.extend(percentiles.map(|(name, _)| name.to_owned()));
    heads.extend(cells!["mean", "p50, ratio", "p99, ratio"]);
    let mut lines = vec![heads];
    let of = |case: &Case, share| times(case).percentile(share) as f64;
    for case in cases {
        let mut line = cells![case.name];
        line.extend(percentiles.map(|(_, share)| nanos(of(case, share))));
        line.push(nanos(times(case).mean()));
        line.extend([0.5, 0.99].map(|share| format!("{:.2}", of(case, share) / of(&cases[0], share))));
        lines.push(line);
    }
    print_columns(&lines);
}

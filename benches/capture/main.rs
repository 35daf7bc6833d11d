//! What `capture` costs its caller, and the process. See README.md above it.

mod paced;
#[path = "../support/mod.rs"]
mod support;
mod tight;

use std::process::exit;

use posthog_health::Event;
use posthog_health::layers::RateLimitConfig;
use posthog_health::testing::FakePostHog;
use support::subject::{Ours, Subject};
use support::times::{Times, clock};
use support::{Arguments, cells, event, nanos, ours, print_columns, print_machine, server};

fn main() {
    if Arguments::read().is_none() {
        return;
    }
    let prototype = event(1);
    let json = serde_json::to_vec(&prototype).expect("an event is JSON");
    println!(
        "The same event for both: {} properties, {} bytes as JSON; made just before each call, untimed.",
        prototype.properties().len(),
        json.len()
    );
    println!("{} of each time is the clock's own; beyond p99 they are mostly the scheduler's.\n", clock());
    let their_server = server();
    tight::run(&prototype, &their_server);
    paced::run(&prototype);
    print_machine(&their_server);
    // The SDK has requests under way: dropping it would wait for them.
    exit(0);
}

/// Ours without compression, which posthog-rs has not by default; and nothing in the way of sending.
fn ours_plain(server: &FakePostHog, queue_events: usize) -> Ours {
    let unlimited = RateLimitConfig::default().rate(100_000).burst(100_000);
    Ours::of(ours(server).queue_events(queue_events).gzip(false).rate_limit(unlimited))
}

/// Starts threads, connects, fills caches.
fn warm(subject: &dyn Subject) {
    (0..100).for_each(|number| subject.capture(event(number)));
    subject.flush();
}

/// One line for each way to call: times of ours, times of theirs, and how they compare.
struct Comparison(Vec<Vec<String>>);

impl Comparison {
    const SHARES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];

    fn new(first: &str) -> Self {
        let names = Self::SHARES.map(|(name, _)| name);
        let mut heads = cells![first];
        heads.extend(names.map(str::to_owned));
        heads.extend(names.map(|name| format!("posthog-rs {name}")));
        heads.extend(names.map(|name| format!("{name} / theirs")));
        Self(vec![heads])
    }

    fn add(&mut self, name: String, ours: &Times, theirs: &Times) {
        let of = |times: &Times| Self::SHARES.map(|(_, share)| times.percentile(share) as f64);
        let (ours, theirs) = (of(ours), of(theirs));
        let mut line = vec![name];
        line.extend(ours.map(nanos));
        line.extend(theirs.map(nanos));
        line.extend(ours.iter().zip(&theirs).map(|(ours, theirs)| format!("{:.2}", ours / theirs)));
        self.0.push(line);
    }

    fn print(&self) {
        print_columns(&self.0);
    }
}

/// Each event is made just before its call, as services do: it is in the cache.
fn timed(times: &mut Times, prototype: &Event, subject: &dyn Subject) {
    let event = prototype.clone();
    times.time(|| subject.capture(event));
}

//! How fast a spool is sent when PostHog is back, beside the same events sent live.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use crate::support::{cells, event, print_columns, seconds, server};
use crate::{assert_nothing_lost, down, feed, health, is_ready, mib, spool, temporary, unbounded, until};

const EVENTS: usize = 100_000;
const FILE: &str = "spool-0.redb";
const LONGEST: Duration = Duration::from_secs(60);
const LONGEST_SHRINKING: Duration = Duration::from_secs(25);

pub(crate) async fn run(directory: &Path) {
    println!(
        "replay: {EVENTS} events that an outage left on disk, sent by a new client; and live, from memory.\n"
    );
    let filled = temporary(directory);
    let bytes = fill(filled.path()).await;
    let before = fs::metadata(filled.path().join(FILE)).expect("a spool file").len();
    let mut lines = vec![cells![
        "",
        "first",
        "all",
        "events/s",
        "live, all",
        "live, events/s",
        "replay / live",
        "duplicates"
    ]];
    let mut shrunk = None;
    for gzip in [false, true] {
        let copy = temporary(directory);
        fs::copy(filled.path().join(FILE), copy.path().join(FILE)).expect("room on the disk");
        let live = live(gzip).await;
        let replayed = replay(copy.path(), gzip, gzip.then_some(&mut shrunk)).await;
        let rate = |time: Duration| format!("{:.0}", EVENTS as f64 / time.as_secs_f64());
        lines.push(cells![
            if gzip { "gzip" } else { "no gzip" },
            seconds(Some(replayed.first)),
            seconds(Some(replayed.all)),
            rate(replayed.all),
            seconds(Some(live)),
            rate(live),
            format!("{:.2}", replayed.all.as_secs_f64() / live.as_secs_f64()),
            replayed.duplicates,
        ]);
    }
    print_columns(&lines);
    println!(
        "The file: {} for {} of events, {:.2} times as much.\nAfter the drain: {}.\n",
        mib(before),
        mib(bytes),
        before as f64 / bytes as f64,
        shrunk.unwrap_or_else(|| format!("no smaller within {LONGEST_SHRINKING:?}")),
    );
}

/// Leaves events on disk, and tells how many bytes they are.
async fn fill(directory: &Path) -> u64 {
    let server = down();
    let posthog = unbounded(&server).spool(spool(directory)).build().expect("a good configuration");
    is_ready(&posthog).await;
    feed(&posthog, 1_000, EVENTS).await;
    let bytes = health(&posthog).bytes;
    let report = posthog.shutdown(Duration::from_secs(1)).await;
    assert_eq!(report.spooled, EVENTS as u64, "{report:?}");
    bytes
}

struct Replayed {
    first: Duration,
    all: Duration,
    duplicates: usize,
}

/// Times are from the build of the client on, the opening of the file included.
async fn replay(directory: &Path, gzip: bool, shrunk: Option<&mut Option<String>>) -> Replayed {
    let server = server();
    let started = Instant::now();
    let posthog =
        unbounded(&server).gzip(gzip).spool(spool(directory)).build().expect("a good configuration");
    let delivered = || posthog.stats().delivered as usize;
    until(|| delivered() > 0).await;
    let first = started.elapsed();
    if timeout(LONGEST, until(|| delivered() >= EVENTS)).await.is_err() {
        println!("NOT DRAINED in {LONGEST:?}: {}", posthog.stats());
    }
    let all = started.elapsed();
    assert_nothing_lost(posthog.stats());
    if let Some(told) = shrunk {
        // Its own word for it may be old.
        let length = || fs::metadata(directory.join(FILE)).expect("a spool file").len();
        let large = length();
        let shrank = timeout(LONGEST_SHRINKING, until(|| length() < large / 2)).await.is_ok();
        let after = (started.elapsed() - all).as_secs_f64();
        // It may shrink in steps.
        sleep(Duration::from_millis(500)).await;
        let small = length();
        let knows = if health(&posthog).file_bytes == small { "" } else { ", which health() does not know" };
        *told = shrank.then(|| {
            format!("{} at first, after {after:.1} s {} KiB{knows}", mib(large), small.div_ceil(1024))
        });
    }
    let duplicates = server.accepted() - server.distinct();
    posthog.shutdown(Duration::from_secs(1)).await;
    Replayed { first, all, duplicates }
}

/// The same events captured and sent without a spool.
async fn live(gzip: bool) -> Duration {
    let server = server();
    let posthog =
        unbounded(&server).gzip(gzip).queue_events(2 * EVENTS).queue_bytes(1 << 30).flush_timeout(LONGEST);
    let posthog = posthog.build().expect("a good configuration");
    let started = Instant::now();
    (0..EVENTS).for_each(|number| posthog.capture(event(number)));
    posthog.flush().await.expect("a healthy server");
    let took = started.elapsed();
    posthog.shutdown(Duration::from_secs(1)).await;
    took
}

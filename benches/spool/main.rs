//! What events on disk cost: writing them, sending them later, memory, and the caller. See README.md beside it.

mod append;
mod capture;
mod child;
mod memory;
mod replay;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use posthog_health::layers::RateLimitConfig;
use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{Ledger, PostHog, PostHogBuilder, SpoolConfig, SpoolHealth, SpoolState};
use support::{Arguments, event, ours, server};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::sleep;

fn main() {
    let Some(arguments) = Arguments::read() else { return };
    let runtime = Runtime::new().expect("a runtime");
    if let Some(task) = arguments.value("--child") {
        return runtime.block_on(child::run(task, &arguments));
    }
    let only = arguments.value("--only");
    let wanted = |name| only.is_none_or(|only| only == name);
    let (directory, kind) = disk();
    println!("Events of {} bytes as JSON; the files lie in {kind}.\n", json_bytes());
    let started = Instant::now();
    if wanted("append") {
        runtime.block_on(append::run(&directory));
    }
    if wanted("replay") {
        runtime.block_on(replay::run(&directory));
    }
    if wanted("memory") {
        runtime.block_on(memory::run(&directory));
    }
    if wanted("capture") {
        capture::run(&runtime);
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    let (version, took) = (env!("CARGO_PKG_VERSION"), started.elapsed().as_secs());
    println!("machine: {cores} cores, {arch} {os}; posthog-health/{version}; took {took} s");
}

/// A directory on the disk of the build, which is no memory as `/tmp` may be; and what its file system is.
fn disk() -> (PathBuf, String) {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let mount = mounts.filter(|(at, _)| directory.starts_with(at)).max_by_key(|(at, _)| at.len());
    let kind = mount.map_or("an unknown file system".to_owned(), |(_, kind)| kind.to_owned());
    (directory, kind)
}

fn temporary(directory: &Path) -> TempDir {
    TempDir::new_in(directory).expect("a directory")
}

fn json_bytes() -> usize {
    serde_json::to_vec(&event(1)).expect("an event is JSON").len()
}

/// A server that is down.
fn down() -> FakePostHog {
    let server = server();
    server.always(Reply::status(503));
    server
}

/// Room for all that these benches write, and nothing in the way of sending it.
fn unbounded(server: &FakePostHog) -> PostHogBuilder {
    let unlimited = RateLimitConfig::default().rate(100_000).burst(100_000);
    ours(server).rate_limit(unlimited).in_flight(16)
}

fn spool(directory: &Path) -> SpoolConfig {
    SpoolConfig::at(directory).max_bytes(8 << 30)
}

fn health(posthog: &PostHog) -> SpoolHealth {
    posthog.health().spool.expect("a spool")
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        sleep(Duration::from_millis(1)).await;
    }
}

async fn is_ready(posthog: &PostHog) {
    until(|| health(posthog).state == SpoolState::Ready).await;
}

/// So many callers at once capture so many events, each when its last one is on disk.
async fn feed(posthog: &PostHog, callers: usize, events: usize) {
    let share = move |caller| (caller * events / callers)..((caller + 1) * events / callers);
    let tasks = (0..callers).map(|caller| {
        let posthog = posthog.clone();
        tokio::spawn(async move {
            for number in share(caller) {
                posthog.capture_durable(event(number)).await.expect("a spool with room");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("it does not panic");
    }
}

/// Every event is where the ledger says, and nothing is lost.
fn assert_nothing_lost(ledger: Ledger) {
    let Ledger { captured, delivered, queued, spooled, dead_lettered, dropped, .. } = ledger;
    let found = delivered + queued + spooled + dead_lettered;
    assert!(captured == found && dropped.total() == 0, "{ledger}");
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

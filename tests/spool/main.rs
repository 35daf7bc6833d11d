//! Events on disk: what survives what, and that nothing about the disk stops the service.
#![cfg(feature = "spool")]

mod bounds;
mod crashes;
mod faults;
mod neighbours;
mod old;
mod outages;
mod removed;
mod small_queues;
mod spilling;
#[path = "../support/client.rs"]
mod support;

use std::path::Path;
use std::time::Duration;

use posthog_health::testing::FakePostHog;
use posthog_health::{PostHog, PostHogBuilder, SpoolConfig, SpoolHealth, SpoolState};
use support::{builder, event, until};

/// Times in milliseconds, and a spool.
fn spooled(server: &FakePostHog, directory: &Path) -> PostHogBuilder {
    builder(server).spool(SpoolConfig::at(directory)).flush_timeout(Duration::from_secs(60))
}

fn spool(posthog: &PostHog) -> SpoolHealth {
    posthog.health().spool.unwrap()
}

async fn is_ready(posthog: &PostHog) {
    until(|| spool(posthog).state == SpoolState::Ready).await;
}

/// Captures as fast as the spool takes it.
async fn capture_all(posthog: &PostHog, events: usize) {
    for n in 0..events {
        if n % 100 == 0 {
            until(|| posthog.stats().queued < 500).await;
            tokio::task::yield_now().await;
        }
        posthog.capture(event(n));
    }
}

/// Captures events while the server takes none, and leaves them in the directory.
async fn leave_behind(server: &FakePostHog, directory: &Path, events: usize) {
    server.refuse();
    let posthog = spooled(server, directory).build().unwrap();
    is_ready(&posthog).await;
    capture_all(&posthog, events).await;
    let report = posthog.shutdown(Duration::from_secs(20)).await;
    assert_eq!((report.undelivered, report.spooled as usize), (0, events), "{report:?}");
    server.accept();
}

//! Events on disk: what survives what, and that nothing about the disk stops the service.
#![cfg(feature = "spool")]

#[path = "support/client.rs"]
mod support;

use std::path::Path;
use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{
    DropReason, Overflow, PostHog, PostHogBuilder, Reason, SpoolConfig, SpoolIssue, SpoolMode, SpoolState,
};
use support::{MS, assert_balanced, builder, capture, event, until};
use tempfile::TempDir;

fn spooled(server: &FakePostHog, directory: &Path) -> PostHogBuilder {
    builder(server).spool(SpoolConfig::at(directory))
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
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

async fn is_ready(posthog: &PostHog) {
    until(|| posthog.health().spool.unwrap().state == SpoolState::Ready).await;
}

#[tokio::test]
async fn an_outage_longer_than_memory_loses_nothing() {
    let (server, directory) = (FakePostHog::start(), directory());
    server.batch().always(Reply::status(503));
    let posthog = spooled(&server, directory.path()).queue_events(2_000).build().unwrap();
    is_ready(&posthog).await;
    capture_all(&posthog, 10_000).await;
    until(|| posthog.stats().queued == 0).await;
    until(|| posthog.stats().queued == 0).await;
    assert_eq!((posthog.stats().spooled, posthog.stats().dropped.total()), (10_000, 0));
    assert!(posthog.health().queue.events <= 1_200, "{:?}", posthog.health().queue);
    server.recover();
    posthog.flush().await.unwrap();
    assert_eq!((posthog.stats().delivered, posthog.stats().spooled, server.distinct()), (10_000, 0, 10_000));
    assert_eq!(server.accepted(), 10_000);
    assert_balanced(posthog.stats());
}

use std::time::Duration;

use posthog_health::testing::FakePostHog;
use posthog_health::{DropReason, NotDurable, Overflow, PostHog, Reason, SpoolConfig, SpoolState};

use crate::support::{MS, assert_balanced, event, flush_lossy, until};
use crate::{capture_all, is_ready, leave_behind, spool, spooled};

const SMALLEST: u64 = 1 << 20;

async fn overfilled(server: &FakePostHog, config: SpoolConfig) -> PostHog {
    server.refuse();
    let posthog =
        spooled(server, std::path::Path::new("replaced")).spool(config).queue_events(2_000).build().unwrap();
    is_ready(&posthog).await;
    for n in 0..8_000 {
        if n % 100 == 0 {
            tokio::task::yield_now().await;
            until(|| posthog.stats().queued < 500 || spool(&posthog).state == SpoolState::Full).await;
        }
        posthog.capture(event(n));
    }
    posthog
}

#[tokio::test]
async fn a_full_spool_takes_no_more_and_then_the_queues_policy_holds() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    let posthog = overfilled(&server, SpoolConfig::at(directory.path()).max_bytes(SMALLEST)).await;
    until(|| posthog.stats().queued > 500).await;
    let health = spool(&posthog);
    assert!(health.bytes <= SMALLEST && health.bytes > SMALLEST / 10 * 9, "{health:?}");
    let ledger = posthog.stats();
    assert!(ledger.dropped.count(DropReason::QueueFull) > 0, "{ledger:?}");
    assert_eq!(ledger.dropped.total(), ledger.dropped.count(DropReason::QueueFull));
    assert!(posthog.health().reasons.contains(&Reason::SpoolFilling));
    assert_balanced(ledger);

    let refused = posthog.capture_durable(event(0)).await.map_err(|NotDurable { reason, .. }| reason);
    assert!(matches!(refused, Err(DropReason::SpoolFull | DropReason::QueueFull)), "{refused:?}");

    server.accept();
    let left = ledger.queued + ledger.spooled;
    until(|| posthog.stats().delivered >= left).await;
    is_ready(&posthog).await;
    posthog.capture_durable(event(0)).await.unwrap();
    assert_balanced(posthog.stats());
}

#[tokio::test]
async fn a_full_spool_drops_the_oldest_where_that_is_the_policy() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    let config = SpoolConfig::at(directory.path()).max_bytes(SMALLEST).overflow(Overflow::DropOldest);
    let posthog = overfilled(&server, config).await;
    until(|| posthog.stats().queued < 100).await;
    let ledger = posthog.stats();
    assert!(spool(&posthog).bytes <= SMALLEST);
    assert!(ledger.dropped.count(DropReason::SpoolFull) > 3_000, "{ledger:?}");
    assert_eq!(ledger.dropped.total(), ledger.dropped.count(DropReason::SpoolFull));
    assert!(posthog.health().reasons.contains(&Reason::LosingEvents));
    assert_balanced(ledger);
    server.accept();
    flush_lossy(&posthog).await;
    let newest = server.events().iter().map(|event| event["properties"]["n"].as_u64().unwrap()).max();
    assert_eq!(newest, Some(7_999));
    assert_eq!(server.distinct() as u64, posthog.stats().delivered);
}

#[tokio::test]
async fn an_event_that_lay_too_long_is_dropped_and_counted() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    leave_behind(&server, directory.path(), 500).await;
    server.refuse();
    let young = SpoolConfig::at(directory.path()).max_age(Duration::from_secs(1));
    tokio::time::sleep(MS(1_100)).await;
    let posthog = spooled(&server, directory.path()).spool(young).build().unwrap();
    until(|| posthog.stats().dropped.count(DropReason::SpoolExpired) > 0).await;
    assert_balanced(posthog.stats());
}

/// A disk that is nearly full is left to others.
#[tokio::test]
async fn what_must_stay_free_of_the_disk_stays_free() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.refuse();
    let config = SpoolConfig::at(directory.path()).min_free_disk(u64::MAX);
    let posthog = spooled(&server, directory.path()).spool(config).build().unwrap();
    is_ready(&posthog).await;
    let refused = posthog.capture_durable(event(0)).await.unwrap_err();
    assert_eq!(refused.reason, DropReason::SpoolFull);
    assert_eq!((spool(&posthog).bytes, spool(&posthog).state), (0, SpoolState::Full));
    assert_balanced(posthog.stats());
}

#[tokio::test]
async fn the_space_comes_back_when_the_spool_has_drained() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    leave_behind(&server, directory.path(), 20_000).await;
    let posthog = spooled(&server, directory.path()).build().unwrap();
    is_ready(&posthog).await;
    let before = spool(&posthog).file_bytes;
    assert!(before > 4 * SMALLEST, "{before}");
    capture_all(&posthog, 100).await;
    until(|| posthog.stats().delivered == 20_100).await;
    until(|| spool(&posthog).file_bytes < SMALLEST).await;
    let on_disk = std::fs::metadata(directory.path().join("spool-0.redb")).unwrap().len();
    assert!(on_disk < SMALLEST, "{on_disk}");
}

//! Memory and disk are full, or the disk does not do what disks do.

use std::path::Path;
use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{DropReason, Overflow, PostHog, SpoolConfig, SpoolState};

use crate::client;
use crate::row::Row;
use crate::support::{MS, assert_balanced, capture, event, flush_lossy, until};

pub(crate) async fn memory_is_full(row: &Row) {
    let hanging = FakePostHog::start();
    hanging.always(Reply::hang());
    let kept = async |overflow| {
        let server = FakePostHog::start();
        server.refuse();
        let posthog = client(&server).queue_events(1_000).overflow(overflow).build().unwrap();
        capture(&posthog, 1_500);
        let ledger = posthog.stats();
        assert_eq!((ledger.queued, ledger.dropped.count(DropReason::QueueFull)), (1_000, 500));
        assert_balanced(ledger);
        server.accept();
        flush_lossy(&posthog).await;
        let arrived = server.events();
        let has = |n: u64| arrived.iter().any(|event| event["properties"]["n"] == n);
        (arrived.len(), has(0), has(1_499))
    };
    let newest_dropped = kept(Overflow::DropNewest).await == (1_000, true, false);
    let oldest_dropped = kept(Overflow::DropOldest).await == (1_000, false, true);
    row.shows(
        "the newest are dropped (or the oldest, as you choose), counted as `queue_full`",
        newest_dropped && oldest_dropped && Overflow::default() == Overflow::DropNewest,
    );
    row.shows("the others wait", newest_dropped);

    let posthog = client(&hanging).queue_events(1_000).build().unwrap();
    capture(&posthog, 1_500);
    row.shows_reasons(&posthog.health(), &["queue_filling", "losing_events"]);
    row.shows_nothing_noticed(&posthog).await;
    row.shows_alerts(&posthog, &["Losing Events"]).await;
}

pub(crate) async fn spool_is_full(row: &Row) {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.refuse();
    let smallest = SpoolConfig::at(directory.path()).max_bytes(1 << 20);
    let posthog = client(&server).spool(smallest).queue_events(2_000).build().unwrap();
    until(|| state(&posthog) == SpoolState::Ready).await;
    let mut captured = 0;
    while state(&posthog) != SpoolState::Full {
        // No faster than the disk: up to 400 are under way beside these.
        if posthog.stats().queued < 500 {
            captured += 10;
            capture(&posthog, 10);
        }
        tokio::time::sleep(MS(1)).await;
    }
    let ledger = posthog.stats();
    let beyond_memory = ledger.spooled > 2_000 && ledger.dropped.total() == 0;
    row.shows("wait on disk", beyond_memory && captured == ledger.captured);
    row.shows_nothing_noticed(&posthog).await;
    capture(&posthog, 2_000);
    let dropped = posthog.stats().dropped;
    row.shows(
        "once that is full too, dropped, counted as `queue_full`",
        dropped.total() > 0 && dropped.total() == dropped.count(DropReason::QueueFull),
    );
    let reasons = posthog.health().reasons;
    row.shows("`spool_filling`", reasons.iter().any(|reason| reason.code() == "spool_filling"));
    row.shows_alerts(&posthog, &["Spool Filling"]).await;
    assert_balanced(posthog.stats());
}

pub(crate) async fn spool_fails(row: &Row) {
    let parent = tempfile::tempdir().unwrap();
    std::fs::write(parent.path().join("file"), "").unwrap();
    let missing = parent.path().join("file/spool");
    assert_works_without(row, &missing).await;
    // Not even root may make a directory there.
    #[cfg(target_os = "linux")]
    assert_works_without(row, Path::new("/sys/posthog-spool")).await;
}

async fn assert_works_without(row: &Row, directory: &Path) {
    let server = FakePostHog::start();
    let posthog = client(&server).spool(SpoolConfig::at(directory)).build().unwrap();
    until(|| state(&posthog) == SpoolState::Failing).await;
    row.shows_reasons(&posthog.health_check().await, &["spool_failing"]);
    row.shows_nothing_noticed(&posthog).await;
    capture(&posthog, 250);
    posthog.flush().await.unwrap();
    row.shows("stay in memory and are sent from there", server.distinct() == 250);
    let refused = posthog.capture_durable(event(0)).await;
    row.shows("`capture_durable` gets an error", refused.is_err());
    assert_balanced(posthog.stats());
    if let Some(parent) = directory.parent().filter(|parent| parent.is_file()) {
        std::fs::remove_file(parent).unwrap();
        until(|| state(&posthog) == SpoolState::Ready).await;
        row.shows("the spool is tried again every 2 s", true);
    }
}

pub(crate) async fn spool_is_damaged(row: &Row) {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.refuse();
    let spooled = || client(&server).spool(SpoolConfig::at(directory.path())).build().unwrap();
    let before = spooled();
    until(|| state(&before) == SpoolState::Ready).await;
    capture(&before, 1_000);
    assert_eq!(before.shutdown(Duration::from_secs(20)).await.spooled, 1_000);
    server.accept();
    let file = directory.path().join("spool-0.redb");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[..4096].fill(0xff);
    std::fs::write(&file, &bytes).unwrap();

    let posthog = spooled();
    until(|| posthog.stats().delivered == 1_000).await;
    row.shows("each whose record is whole is delivered", server.distinct() == 1_000);
    let names = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name());
    let is_set_aside = names.into_iter().any(|name| name.to_string_lossy().contains(".damaged-"));
    row.shows("the file is set aside as `*.damaged-*`", is_set_aside);
    row.shows_reasons(&posthog.health_check().await, &["spool_damaged"]);
    row.shows_nothing_noticed(&posthog).await;
    assert_balanced(posthog.stats());
}

fn state(posthog: &PostHog) -> SpoolState {
    posthog.health().spool.unwrap().state
}

use std::collections::BTreeSet;
use std::time::Duration;

use posthog_health::layers::RateLimitConfig;
use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{DropReason, SpoolConfig, SpoolMode};

use crate::support::{MS, assert_balanced, capture, event, flush_lossy, reject, until};
use crate::{capture_all, is_ready, leave_behind, spool, spooled};

#[tokio::test]
async fn an_outage_longer_than_memory_loses_nothing() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.batch().always(Reply::status(503));
    let posthog = spooled(&server, directory.path()).queue_events(2_000).build().unwrap();
    is_ready(&posthog).await;
    capture_all(&posthog, 10_000).await;
    until(|| posthog.stats().queued == 0).await;
    assert_eq!((posthog.stats().spooled, posthog.stats().dropped.total()), (10_000, 0));
    assert!(posthog.health().queue.events <= 1_200, "{:?}", posthog.health().queue);
    server.recover();
    posthog.flush().await.unwrap();
    assert_eq!((posthog.stats().delivered, posthog.stats().spooled), (10_000, 0));
    assert_eq!((server.distinct(), server.accepted()), (10_000, 10_000));
    assert_balanced(posthog.stats());
}

/// Guarantee 2 across a restart, and guarantee 1 of the deadline: nothing that is on disk is waited for.
#[tokio::test]
async fn what_a_shutdown_leaves_behind_is_delivered_after_the_restart() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.batch().always(Reply::hang());
    let posthog =
        spooled(&server, directory.path()).request_timeout(Duration::from_secs(60)).build().unwrap();
    is_ready(&posthog).await;
    capture(&posthog, 1_050);
    server.wait_for_requests(Route::Batch, 4).await;
    let report = posthog.shutdown(Duration::from_secs(4)).await;
    assert_eq!((report.undelivered, report.spooled, report.dropped), (0, 1_050, 0));
    assert_balanced(posthog.stats());

    server.recover();
    let next = spooled(&server, directory.path()).build().unwrap();
    is_ready(&next).await;
    assert!(!directory.path().join("spool-1.redb").exists(), "the file was closed with the shutdown");
    capture(&next, 50);
    until(|| next.stats().delivered == 1_100).await;
    assert_eq!((next.stats().captured, next.stats().spooled), (1_100, 0), "the totals go on");
    assert_eq!(server.distinct(), 1_100);
    assert_balanced(next.stats());
    let report = next.shutdown(Duration::from_secs(5)).await;
    assert!(report.delivered <= 50, "of the time since the call: {report:?}");
}

/// Switching the client off for a while costs nothing that is on disk.
#[tokio::test]
async fn a_disabled_client_leaves_the_spool_alone() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    leave_behind(&server, directory.path(), 500).await;
    let file = || std::fs::read(directory.path().join("spool-0.redb")).unwrap();
    let before = file();
    let disabled = spooled(&server, directory.path()).disabled(true).build().unwrap();
    capture(&disabled, 10);
    disabled.shutdown(Duration::from_secs(5)).await;
    assert_eq!(disabled.stats().dropped.count(DropReason::Disabled), 10);
    assert!(file() == before && server.accepted() == 0);

    let posthog = spooled(&server, directory.path()).build().unwrap();
    until(|| posthog.stats().delivered == 500).await;
    assert_balanced(posthog.stats());
}

/// One batch of the backlog for each live one, at most.
#[tokio::test]
async fn live_events_do_not_wait_behind_the_backlog() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    leave_behind(&server, directory.path(), 20_000).await;
    server.batch().always(Reply::normal().delayed(MS(5)));
    let slow = RateLimitConfig::default().rate(50).burst(1);
    let posthog = spooled(&server, directory.path()).rate_limit(slow).build().unwrap();
    until(|| posthog.stats().delivered > 100).await;
    posthog.capture(event(7));
    let number = 20_001;
    until(|| posthog.stats().captured == number).await;
    posthog.flush().await.unwrap();
    let delivered = posthog.stats().delivered;
    assert!(delivered < 10_000, "flush waits for the live event alone, not for {delivered} old ones");
    until(|| posthog.stats().delivered == number).await;
    assert_eq!((server.distinct(), server.accepted()), (20_001, 20_001));
}

/// Nor does the backlog wait for the end of live events.
#[tokio::test]
async fn the_backlog_does_not_wait_behind_live_events() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    leave_behind(&server, directory.path(), 500).await;
    server.batch().always(Reply::hang());
    let posthog = spooled(&server, directory.path())
        .in_flight(1)
        .request_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    server.wait_for_requests(Route::Batch, 1).await;
    until(|| spool(&posthog).events == 500).await;
    (0..2_000).for_each(|n| posthog.capture(posthog_health::Event::new("live", &format!("user-{n}"))));
    server.recover();
    until(|| server.distinct() == 2_500).await;
    let events = server.events();
    // The batch that hung has stepped aside, and comes last.
    let old = events[..1_500].iter().filter(|event| event["event"] != "live").count();
    assert!(old >= 400, "{old}");
}

#[tokio::test]
async fn the_backlog_is_delivered_in_the_order_of_capture() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    leave_behind(&server, directory.path(), 1_000).await;
    let posthog = spooled(&server, directory.path()).in_flight(1).build().unwrap();
    until(|| posthog.stats().delivered == 1_000).await;
    let order: Vec<_> =
        server.events().iter().map(|event| event["properties"]["n"].as_u64().unwrap()).collect();
    assert!(order.is_sorted(), "{order:?}");
}

/// A probe of the half-open breaker may be a batch of the backlog: nothing else needs to come.
#[tokio::test]
async fn a_backlog_alone_finds_out_that_posthog_is_back() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    leave_behind(&server, directory.path(), 500).await;
    server.batch().always(Reply::status(503));
    let posthog = spooled(&server, directory.path()).build().unwrap();
    until(|| !posthog.health().reasons.is_empty()).await;
    server.recover();
    until(|| posthog.stats().delivered == 500).await;
}

#[tokio::test]
async fn with_write_ahead_every_event_is_on_disk_before_it_is_sent() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.batch().always(Reply::hang());
    let config = SpoolConfig::at(directory.path()).mode(SpoolMode::WriteAhead);
    let posthog =
        spooled(&server, directory.path()).spool(config).linger(Duration::from_secs(3600)).build().unwrap();
    is_ready(&posthog).await;
    capture(&posthog, 10);
    until(|| posthog.stats().spooled == 10).await;
    assert_eq!((posthog.stats().queued, server.request_count(Route::Batch)), (0, 0));
    capture(&posthog, 90);
    server.wait_for_requests(Route::Batch, 1).await;
    assert!(posthog.stats().spooled >= 100);
}

/// In the healthy state of the default mode nothing is written but the counts.
#[tokio::test]
async fn while_posthog_answers_no_event_touches_the_disk() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    let posthog = spooled(&server, directory.path()).build().unwrap();
    is_ready(&posthog).await;
    for _ in 0..10 {
        capture(&posthog, 100);
        posthog.flush().await.unwrap();
        assert_eq!(posthog.stats().spooled, 0);
    }
    assert_eq!((posthog.stats().delivered, spool(&posthog).bytes), (1_000, 0));
}

#[tokio::test]
async fn dead_letters_outlive_the_process_and_can_be_replayed_after_it() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.reject_events_named(&["poison"]);
    let posthog = spooled(&server, directory.path()).build().unwrap();
    is_ready(&posthog).await;
    capture(&posthog, 10);
    for user in ["a", "b", "c"] {
        posthog.capture(posthog_health::Event::new("poison", user));
    }
    flush_lossy(&posthog).await;
    let before = posthog.dead_letters();
    posthog.shutdown(Duration::from_secs(5)).await;

    let next = spooled(&server, directory.path()).build().unwrap();
    is_ready(&next).await;
    let exported = |letters: &[posthog_health::DeadLetter]| -> Vec<String> {
        // In the order of capture, and not of the search.
        letters
            .iter()
            .map(|letter| serde_json::to_string(letter).unwrap())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    };
    assert_eq!(exported(&next.dead_letters()), exported(&before));
    assert_eq!((next.stats().captured, next.stats().delivered, next.stats().dead_lettered), (13, 10, 3));
    server.reject_events_named(&[]);
    assert_eq!(next.replay_dead_letters(), 3);
    next.flush().await.unwrap();
    assert_eq!((next.stats().delivered, next.stats().dead_lettered), (13, 0));
    next.shutdown(Duration::from_secs(5)).await;

    let third = spooled(&server, directory.path()).build().unwrap();
    is_ready(&third).await;
    assert_eq!((third.dead_letters().len(), third.stats().delivered), (0, 13));
    assert_eq!(server.distinct(), 13);
}

#[tokio::test]
async fn discarded_dead_letters_stay_discarded() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.reject_events_named(&["poison"]);
    let posthog = spooled(&server, directory.path()).build().unwrap();
    is_ready(&posthog).await;
    reject(&posthog, posthog_health::Event::new("poison", "a")).await;
    assert_eq!(posthog.discard_dead_letters(), 1);
    posthog.shutdown(Duration::from_secs(5)).await;
    let next = spooled(&server, directory.path()).build().unwrap();
    is_ready(&next).await;
    let ledger = next.stats();
    assert_eq!((ledger.dead_lettered, ledger.dropped.count(DropReason::DeadLetterDiscarded)), (0, 1));
    assert_balanced(ledger);
}

/// A flush waits for the replayed dead letters of an earlier process, however long PostHog takes.
#[tokio::test]
async fn flush_waits_for_replayed_letters_of_an_earlier_process() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.reject_events_named(&["poison"]);
    let posthog = spooled(&server, directory.path()).build().unwrap();
    is_ready(&posthog).await;
    for user in ["a", "b", "c"] {
        reject(&posthog, posthog_health::Event::new("poison", user)).await;
    }
    flush_lossy(&posthog).await;
    posthog.shutdown(Duration::from_secs(5)).await;

    let next = spooled(&server, directory.path()).request_timeout(Duration::from_secs(5)).build().unwrap();
    is_ready(&next).await;
    server.reject_events_named(&[]);
    server.batch().always(Reply::normal().delayed(MS(1_500)));
    assert_eq!(next.replay_dead_letters(), 3);
    next.flush().await.unwrap();
    assert_eq!((next.stats().delivered, next.stats().dead_lettered), (6, 0), "{:?}", next.stats());
}

/// "Emptied files shrink."
#[tokio::test]
async fn a_file_that_was_taken_over_shrinks() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    let first = spooled(&server, directory.path()).build().unwrap();
    is_ready(&first).await;
    leave_behind(&server, directory.path(), 20_000).await;
    let file = directory.path().join("spool-1.redb");
    let before = std::fs::metadata(&file).unwrap().len();
    until(|| first.stats().delivered == 20_000).await;
    assert!(before > 4 << 20, "{before}");
    until(|| std::fs::metadata(&file).unwrap().len() < 1 << 20).await;
}

//! What is on disk takes no room in memory, however small the queue and however large the batches.

use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{PostHog, PostHogBuilder};

use crate::support::{assert_balanced, capture, event, until};
use crate::{is_ready, leave_behind, spooled};

/// Captures no faster than the disk takes it, while PostHog takes nothing.
async fn capture_beside_the_disk(posthog: &PostHog, events: usize, at_once: usize) {
    for n in 0..events {
        if n % at_once == 0 {
            until(|| posthog.stats().queued == 0 || posthog.stats().dropped.total() > 0).await;
        }
        posthog.capture(event(n));
    }
    until(|| posthog.stats().queued == 0 || posthog.stats().dropped.total() > 0).await;
}

async fn loses_nothing(change: fn(PostHogBuilder) -> PostHogBuilder, events: usize, at_once: usize) {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.batch().always(Reply::hang());
    let builder = spooled(&server, directory.path()).request_timeout(Duration::from_secs(600));
    let posthog = change(builder).build().unwrap();
    is_ready(&posthog).await;
    capture_beside_the_disk(&posthog, events, at_once).await;
    let ledger = posthog.stats();
    assert_eq!((ledger.spooled, ledger.dropped.total()), (events as u64, 0), "{ledger:?}");
    assert_balanced(ledger);
}

#[tokio::test]
async fn batches_under_way_that_are_on_disk_take_no_room() {
    loses_nothing(|builder| builder.batch_events(1_000).in_flight(16), 40_000, 5_100).await;
}

#[tokio::test]
async fn a_queue_of_four_batches_spills_to_disk() {
    loses_nothing(|builder| builder.queue_events(400), 4_000, 210).await;
}

/// What is read back leaves live events their room.
#[tokio::test]
async fn live_events_have_room_while_a_small_queue_drains_the_spool() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    leave_behind(&server, directory.path(), 2_000).await;
    server.batch().always(Reply::hang());
    let posthog = spooled(&server, directory.path())
        .queue_events(200)
        .request_timeout(Duration::from_secs(600))
        .build()
        .unwrap();
    server.wait_for_requests(Route::Batch, 2).await;
    capture(&posthog, 200);
    let ledger = posthog.stats();
    assert_eq!((ledger.captured, ledger.dropped.total()), (2_200, 0), "{ledger:?}");
}

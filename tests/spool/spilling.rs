//! When memory goes to disk: at once where delivery pauses, and soon where PostHog merely does not answer.

use std::time::Duration;

use posthog_health::layers::RateLimitConfig;
use posthog_health::testing::{FakePostHog, Reply};
use tokio::time::timeout;

use crate::support::{MS, assert_balanced, capture, until};
use crate::{is_ready, spooled};

/// Without an error, and with a breaker that stays closed.
async fn reaches_the_disk(reply: Reply) {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.batch().always(reply);
    let minutes = Duration::from_secs(600);
    let posthog = spooled(&server, directory.path())
        .request_timeout(minutes)
        .rate_limit(RateLimitConfig::default().pause(minutes, minutes))
        .build()
        .unwrap();
    is_ready(&posthog).await;
    capture(&posthog, 200);
    until(|| posthog.stats().spooled == 200).await;
    // What comes later follows at once.
    capture(&posthog, 200);
    until(|| posthog.stats().spooled == 400).await;
    assert_balanced(posthog.stats());
    let report = timeout(Duration::from_secs(30), posthog.shutdown(minutes)).await;
    let report = report.expect("all is on disk, and nothing can be delivered");
    assert_eq!((report.undelivered, report.spooled), (0, 400), "{report:?}");
}

#[tokio::test]
async fn a_retry_after_sends_memory_to_disk_and_shutdown_does_not_wait_for_it() {
    reaches_the_disk(Reply::status(429).retry_after("120")).await;
}

#[tokio::test]
async fn a_hang_sends_memory_to_disk_and_shutdown_does_not_wait_for_it() {
    reaches_the_disk(Reply::hang()).await;
}

#[tokio::test]
async fn a_slow_posthog_sends_nothing_to_disk() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.batch().always(Reply::normal().delayed(MS(1_200)));
    let posthog = spooled(&server, directory.path()).build().unwrap();
    is_ready(&posthog).await;
    for _ in 0..2 {
        capture(&posthog, 400);
        posthog.flush().await.unwrap();
        assert_eq!((posthog.stats().spooled, posthog.health().spool.unwrap().bytes), (0, 0));
    }
}

/// The runtime of the worker is gone, the disk is well.
#[test]
fn what_a_runtime_leaves_behind_is_on_disk_after_a_shutdown_from_another() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.refuse();
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let first = runtime();
    let posthog = first.block_on(async {
        let posthog = spooled(&server, directory.path()).linger(Duration::from_secs(60)).build().unwrap();
        is_ready(&posthog).await;
        posthog
    });
    drop(first);
    capture(&posthog, 9_000);
    let report = runtime().block_on(posthog.shutdown(Duration::from_secs(30)));
    assert_eq!((report.undelivered, report.spooled), (0, 9_000), "{report:?}");
    assert_balanced(posthog.stats());
}

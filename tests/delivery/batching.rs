//! When events leave, and how many together.

use std::time::Duration;

use posthog_health::layers::{RateLimitConfig, RetryConfig};
use posthog_health::testing::{FakePostHog, Route};

use super::support::{MS, builder, capture, large_event, until};
use super::{batches, body, uuids};

#[tokio::test]
async fn full_batches_go_at_once_and_the_rest_lingers() {
    let server = FakePostHog::start();
    let posthog = builder(&server).linger(Duration::from_secs(3600)).build().unwrap();
    capture(&posthog, 250);
    server.wait_for_distinct(200).await;
    let sizes: Vec<_> = batches(&server).iter().map(|request| uuids(&body(request)).len()).collect();
    assert_eq!(sizes, [100, 100]);
    until(|| posthog.stats().queued == 50).await;
    posthog.flush().await.unwrap();
    assert_eq!(server.distinct(), 250);
}

#[tokio::test]
async fn a_lonely_event_leaves_after_the_linger_time() {
    let server = FakePostHog::start();
    let posthog = builder(&server).linger(MS(10)).build().unwrap();
    for sent in 1..=3 {
        capture(&posthog, 1);
        server.wait_for_distinct(sent).await;
    }
    assert_eq!(server.request_count(Route::Batch), 3);
}

#[tokio::test]
async fn batches_keep_to_their_bytes() {
    let server = FakePostHog::start();
    let posthog = builder(&server).gzip(false).batch_bytes(10_000).build().unwrap();
    for n in 0..20 {
        posthog.capture(large_event(n, 2_000));
    }
    posthog.flush().await.unwrap();
    assert_eq!(server.distinct(), 20);
    assert!(batches(&server).iter().all(|request| request.wire_bytes <= 10_000));
}

#[tokio::test]
async fn a_batch_that_is_too_large_goes_in_smaller_ones() {
    let server = FakePostHog::start();
    server.limit_body(20_000);
    let posthog = builder(&server).gzip(false).in_flight(1).build().unwrap();
    capture(&posthog, 200);
    posthog.flush().await.unwrap();
    assert_eq!((posthog.stats().delivered, server.distinct()), (200, 200));
}

#[tokio::test]
async fn the_rate_limit_holds() {
    let server = FakePostHog::start();
    let posthog = builder(&server)
        .batch_events(1)
        .in_flight(10)
        .rate_limit(RateLimitConfig::default().rate(100).burst(1))
        .retry(RetryConfig::default())
        .build()
        .unwrap();
    capture(&posthog, 21);
    posthog.flush().await.unwrap();
    let requests = batches(&server);
    // A token may be taken 50 ms late, and the last in time; and the first request has to connect.
    assert!(requests[20].at - requests[0].at >= MS(140));
}

//! What waits in memory, and what happens when that is full.

use std::collections::HashSet;
use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{DropReason, Overflow, PostHog};

use super::support::{MS, assert_balanced, builder, capture, event, flush_lossy, large_event, until};

async fn numbers_after_overflow(overflow: Overflow, captured: usize) -> (HashSet<u64>, PostHog) {
    let server = FakePostHog::start();
    server.batch().always(Reply::hang());
    let posthog = builder(&server)
        .queue_events(300)
        .in_flight(1)
        .overflow(overflow)
        .request_timeout(MS(100))
        .build()
        .unwrap();
    capture(&posthog, 100);
    server.wait_for_requests(Route::Batch, 1).await;
    (100..captured).for_each(|n| posthog.capture(event(n)));
    let full = posthog.health();
    assert!(full.reasons.contains(&posthog_health::Reason::QueueFilling), "{full}");
    assert!(full.reasons.contains(&posthog_health::Reason::LosingEvents), "{full}");
    assert_eq!(full.queue.events, 300);
    server.recover();
    flush_lossy(&posthog).await;
    let arrived = server.events().iter().map(|event| event["properties"]["n"].as_u64().unwrap()).collect();
    (arrived, posthog)
}

#[tokio::test]
async fn a_full_queue_keeps_what_came_first() {
    let (arrived, posthog) = numbers_after_overflow(Overflow::DropNewest, 1_000).await;
    assert_eq!(arrived, (0..300).collect());
    assert_eq!(posthog.stats().dropped.count(DropReason::QueueFull), 700);
}

#[tokio::test]
async fn or_what_came_last_and_what_is_under_way() {
    let (arrived, posthog) = numbers_after_overflow(Overflow::DropOldest, 1_000).await;
    assert_eq!(arrived, (0..100).chain(800..1_000).collect());
    assert_eq!(posthog.stats().dropped.count(DropReason::QueueFull), 700);
}

#[tokio::test]
async fn an_event_larger_than_the_queue_is_refused_and_nobody_waits_for_it() {
    let server = FakePostHog::start();
    let posthog = builder(&server).batch_bytes(10_000).queue_bytes(10_000).build().unwrap();
    posthog.capture(large_event(0, 20_000));
    flush_lossy(&posthog).await;
    assert_eq!(posthog.stats().dropped.count(DropReason::TooLarge), 1);
}

/// What flush waits for may be dropped meanwhile to make room.
#[tokio::test]
async fn flush_does_not_wait_for_what_was_dropped() {
    let server = FakePostHog::start();
    server.batch().always(Reply::hang());
    let posthog =
        builder(&server).queue_events(200).in_flight(1).overflow(Overflow::DropOldest).build().unwrap();
    capture(&posthog, 100);
    server.wait_for_requests(Route::Batch, 1).await;
    server.recover();
    let flushing = tokio::spawn({
        let posthog = posthog.clone();
        async move { posthog.flush().await }
    });
    capture(&posthog, 1_000);
    let _ = tokio::time::timeout(Duration::from_secs(20), flushing).await.unwrap();
    assert_balanced(posthog.stats());
}

#[tokio::test]
async fn the_queue_is_bounded_by_bytes_too() {
    let server = FakePostHog::start();
    server.batch().always(Reply::hang());
    let posthog = builder(&server).batch_bytes(10_000).queue_bytes(100_000).build().unwrap();
    for n in 0..100 {
        posthog.capture(large_event(n, 5_000));
    }
    let fill = posthog.health().queue;
    assert!(fill.bytes <= 100_000 && fill.events < 20, "{fill:?}");
    assert_balanced(posthog.stats());
}

/// Most events count as the mean of the latest until they are encoded. A guess must cost no event.
#[tokio::test]
async fn a_large_event_costs_the_small_ones_after_it_no_room() {
    let server = FakePostHog::start();
    let posthog = builder(&server).queue_bytes(2_000_000).build().unwrap();
    for round in 0..3 {
        posthog.capture(large_event(0, 900_000));
        posthog.flush().await.unwrap();
        capture(&posthog, 1_000);
        posthog.flush().await.unwrap();
        assert_eq!(posthog.stats().delivered, 1_001 * (round + 1), "{:?}", posthog.stats());
    }
}

#[tokio::test]
async fn large_events_after_a_small_one_are_bounded_too() {
    let server = FakePostHog::start();
    server.batch().always(Reply::hang());
    let posthog = builder(&server).batch_bytes(100_000).queue_bytes(100_000).build().unwrap();
    capture(&posthog, 1);
    for n in 0..1_000 {
        posthog.capture(large_event(n, 5_000));
    }
    until(|| posthog.health().queue.bytes > 0 && posthog.stats().queued < 150).await;
    let fill = posthog.health().queue;
    assert!(fill.events <= 128 + 20, "one in 128 is measured, and then all: {fill:?}");
    assert_balanced(posthog.stats());
}

//! An event as it was captured is an event as it arrives.

use std::time::{Duration, SystemTime};

use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{DropReason, Event, PostHog, RequestContext};
use serde_json::json;

use super::support::{MS, assert_balanced, builder, capture, flush_lossy};
use super::{batches, body, time};

#[tokio::test]
async fn an_event_arrives_as_it_was_captured() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    let mut event = Event::new("order placed", "user-1");
    event.insert_prop("amount", 9.5).unwrap();
    event.add_group("company", "acme");
    let uuid = serde_json::to_value(&event).unwrap()["uuid"].clone();
    let before = SystemTime::now();
    posthog.capture(event);
    let after = SystemTime::now();
    posthog.flush().await.unwrap();

    let arrived = server.events().remove(0);
    assert_eq!(arrived["uuid"], uuid);
    assert_eq!(arrived["event"], "order placed");
    assert_eq!(arrived["distinct_id"], "user-1");
    assert_eq!(arrived["properties"]["amount"], 9.5);
    assert_eq!(arrived["properties"]["$groups"], json!({"company": "acme"}));
    assert_eq!(arrived["properties"]["$lib"], "posthog-health");
    assert_eq!(arrived["properties"]["$is_server"], true);
    let (captured_at, a_moment) = (time(&arrived["timestamp"]), Duration::from_micros(1));
    assert!(captured_at + a_moment >= before && captured_at <= after, "the caller's time, not the worker's");

    let request = batches(&server).remove(0);
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    assert_eq!(body(&request)["api_key"], FakePostHog::TOKEN);
    assert_eq!(body(&request)["historical_migration"], false);
}

#[tokio::test]
async fn without_gzip_the_body_is_plain() {
    let server = FakePostHog::start();
    let posthog = builder(&server).gzip(false).build().unwrap();
    capture(&posthog, 3);
    posthog.flush().await.unwrap();
    let request = batches(&server).remove(0);
    assert_eq!((request.header("content-encoding"), request.query.as_str()), (None, ""));
    assert_eq!(server.distinct(), 3);
}

#[tokio::test]
async fn the_ambient_request_context_is_taken_on_the_callers_task() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    let context = RequestContext::new().session_id("session-1").property("plan", "pro").unwrap();
    context
        .scope(async {
            let mut own = Event::new("own value", "u");
            own.insert_prop("plan", "free").unwrap();
            posthog.capture(own);
            posthog.capture(Event::new("context's value", "u"));
        })
        .await;
    posthog.flush().await.unwrap();
    let events = server.events();
    assert_eq!(events[0]["properties"]["plan"], "free");
    assert_eq!(events[1]["properties"]["plan"], "pro");
    assert_eq!(events[1]["properties"]["$session_id"], "session-1");
}

#[tokio::test]
async fn events_that_would_cost_their_batch_are_refused_at_the_door() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    posthog.capture(Event::new("", "user"));
    posthog.capture(Event::new("event", " "));
    capture(&posthog, 1);
    flush_lossy(&posthog).await;
    let dropped = posthog.stats().dropped;
    assert_eq!((dropped.count(DropReason::NoName), dropped.count(DropReason::NoDistinctId)), (1, 1));
    assert_eq!(server.distinct(), 1);
}

#[tokio::test]
async fn a_disabled_client_accepts_everything_and_says_so() {
    let posthog = PostHog::builder("").disabled(true).build().unwrap();
    capture(&posthog, 10);
    posthog.flush().await.unwrap();
    assert_eq!(posthog.stats().dropped.count(DropReason::Disabled), 10);
    let health = posthog.health_check().await;
    assert_eq!(health.reasons, [posthog_health::Reason::Disabled]);
    assert_eq!(posthog.shutdown(MS(100)).await.undelivered, 0);
}

/// Guarantee 1: from a thread without a runtime, with a server that hangs and a queue that is full.
#[tokio::test]
async fn capture_works_on_any_thread_whatever_posthog_does() {
    let server = FakePostHog::start();
    server.always(Reply::hang());
    let posthog = builder(&server).queue_events(100).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| capture(&posthog, 1_000));
        }
    });
    let ledger = posthog.stats();
    assert_eq!((ledger.captured, ledger.queued), (4_000, 100));
    assert_balanced(ledger);
}

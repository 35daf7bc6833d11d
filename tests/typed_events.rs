//! Events whose properties are a type of the service's.

#[path = "support/client.rs"]
mod support;

use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{DropReason, Event, PropertiesError, RequestContext, TypedEvent};
use serde::Serialize;
use serde_json::json;
use support::{assert_balanced, builder, flush_lossy};

#[derive(Serialize)]
struct OrderPlaced<'a> {
    order_id: &'a str,
    amount: f64,
    items: Vec<&'a str>,
    #[serde(rename = "$groups")]
    groups: Groups<'a>,
}

#[derive(Serialize)]
struct Groups<'a> {
    company: &'a str,
}

fn order() -> OrderPlaced<'static> {
    OrderPlaced { order_id: "ord-1", amount: 9.5, items: vec!["a", "b"], groups: Groups { company: "acme" } }
}

fn typed() -> TypedEvent {
    TypedEvent::new("order placed", "user-1", &order()).unwrap()
}

#[tokio::test]
async fn a_typed_event_arrives_as_the_same_event_of_the_sdk_does() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    let mut sdk = Event::new("order placed", "user-1");
    sdk.insert_prop("order_id", "ord-1").unwrap();
    sdk.insert_prop("amount", 9.5).unwrap();
    sdk.insert_prop("items", ["a", "b"]).unwrap();
    sdk.add_group("company", "acme");
    sdk.remove_prop("$process_person_profile");
    let context = RequestContext::new().session_id("session-1").property("plan", "pro").unwrap();
    context
        .scope(async {
            posthog.capture(sdk);
            posthog.capture(typed());
        })
        .await;
    posthog.flush().await.unwrap();

    let [mut first, mut second] = <[_; 2]>::try_from(server.events()).unwrap();
    assert_eq!(second["properties"]["$session_id"], "session-1");
    assert_eq!(second["properties"]["plan"], "pro");
    for event in [&mut first, &mut second] {
        let event = event.as_object_mut().unwrap();
        assert!(event.remove("uuid").is_some() && event.remove("timestamp").is_some());
    }
    assert_eq!(first, second);
    assert_balanced(posthog.stats());
}

/// PostHog would reject the whole batch.
#[tokio::test]
async fn what_the_context_nests_too_deep_costs_one_event_of_either_kind() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    let nested = (0..200).fold(json!(1), |inner, _| json!({ "a": inner }));
    let context = RequestContext::new().property("deep", nested).unwrap();
    context
        .scope(async {
            posthog.capture(typed());
            posthog.capture(Event::new("order placed", "user-1"));
        })
        .await;
    posthog.capture(typed());
    flush_lossy(&posthog).await;
    let ledger = posthog.stats();
    assert_eq!((ledger.delivered, ledger.dropped.count(DropReason::TooDeep)), (1, 2), "{ledger:?}");
}

#[tokio::test]
async fn a_typed_event_that_is_captured_twice_counts_once() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    let event = typed();
    posthog.capture(event.clone());
    posthog.flush().await.unwrap();
    posthog.capture(event);
    posthog.flush().await.unwrap();
    assert_eq!((server.accepted(), server.distinct()), (2, 1));
}

#[tokio::test]
async fn what_is_no_object_is_an_error_at_the_call_and_what_posthog_rejects_is_counted() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    let error = TypedEvent::new("order placed", "user-1", &["not", "an", "object"]).unwrap_err();
    assert!(matches!(error, PropertiesError::NotAnObject { found: "an array", .. }));
    let nested = (0..200).fold(json!(1), |inner, _| json!({ "a": inner }));
    for (event, reason) in [
        (TypedEvent::new("", "user-1", &order()), DropReason::NoName),
        (TypedEvent::new("order placed", " ", &order()), DropReason::NoDistinctId),
        (TypedEvent::new("order placed", "user-1", &nested), DropReason::TooDeep),
    ] {
        posthog.capture(event.unwrap());
        assert_eq!(posthog.stats().dropped.count(reason), 1, "{reason:?}");
    }
    let too_large = json!({ "text": "x".repeat(2 << 20) });
    posthog.capture(TypedEvent::new("order placed", "user-1", &too_large).unwrap());
    posthog.capture(typed());
    flush_lossy(&posthog).await;
    let ledger = posthog.stats();
    assert_eq!((ledger.captured, ledger.delivered, ledger.dead_lettered), (5, 1, 1));
    assert_balanced(posthog.stats());
}

#[cfg(feature = "spool")]
#[tokio::test]
async fn a_typed_event_is_durable_when_asked() {
    let server = FakePostHog::start();
    server.always(Reply::status(503));
    let directory = tempfile::tempdir().unwrap();
    let spool = || posthog_health::SpoolConfig::at(directory.path());
    let posthog = builder(&server).spool(spool()).build().unwrap();
    posthog.capture_durable(typed()).await.unwrap();
    posthog.shutdown(std::time::Duration::from_secs(5)).await;
    server.recover();
    let next = builder(&server).spool(spool()).build().unwrap();
    support::until(|| next.stats().delivered == 1).await;
    assert_eq!(server.events()[0]["properties"]["order_id"], "ord-1");
}

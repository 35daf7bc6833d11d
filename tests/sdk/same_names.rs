//! Methods with the same names as the SDK's make the same events.

use std::io;

use posthog_health::posthog_rs::{self, CaptureExceptionOptions, ErrorTrackingOptionsBuilder};
use posthog_health::testing::FakePostHog;
use posthog_health::{DropReason, PostHog, RequestContext};
use serde_json::{Value, json};

use crate::support::{assert_balanced, builder};
use crate::{assert_only_ours_captured, named};

fn context() -> RequestContext {
    RequestContext::new().distinct_id("user-1").session_id("session-1").property("path", "/").unwrap()
}

/// Without what differs from event to event, and without the name of the library. In V0's form: with its feature `capture-v1`,
/// the plain SDK sends V1's.
fn comparable(mut event: Value) -> Value {
    let event = event.as_object_mut().unwrap();
    let lifted = ["session_id", "window_id"].map(|name| (name.to_owned(), event.remove(name)));
    let options =
        event.remove("options").and_then(|options| options.as_object().cloned()).unwrap_or_default();
    let lifted = lifted.into_iter().filter_map(|(name, value)| Some((name, value?))).chain(options);
    let properties = event["properties"].as_object_mut().unwrap();
    properties.extend(lifted.map(|(name, value)| (format!("${name}"), value)));
    for member in ["uuid", "timestamp"] {
        assert!(event.remove(member).unwrap().is_string(), "{member}");
    }
    let properties = event["properties"].as_object_mut().unwrap();
    properties.retain(|name, _| !name.starts_with("$lib"));
    json!(event)
}

/// Beside the plain SDK, sending to a server of its own.
#[tokio::test]
async fn alias_and_group_identify_are_on_the_wire_what_the_sdk_sends() {
    let (ours, theirs) = (FakePostHog::start(), FakePostHog::start());
    let posthog = builder(&ours).build().unwrap();
    let plain = posthog_rs::client((FakePostHog::TOKEN, theirs.url().as_str())).await;
    context()
        .scope(async {
            posthog.alias("anonymous-1", "user-1");
            plain.alias("anonymous-1", "user-1");
            posthog.group_identify("company", "acme", json!({"employees": 11})).unwrap();
            plain.group_identify("company", "acme", json!({"employees": 11})).unwrap();
        })
        .await;
    posthog.flush().await.unwrap();
    plain.flush().await;
    for name in ["$create_alias", "$groupidentify"] {
        let ([our], [their]) = (&named(&ours, name)[..], &named(&theirs, name)[..]) else {
            panic!("one event each")
        };
        assert_eq!(comparable(our.clone()), comparable(their.clone()));
        assert_eq!(our["properties"]["path"], "/");
    }
}

#[tokio::test]
async fn set_sends_a_set_event() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    posthog.set("user-1", json!({"plan": "pro"})).unwrap();
    posthog.flush().await.unwrap();
    let [event] = &server.events()[..] else { panic!("one event") };
    assert_eq!((&event["event"], &event["distinct_id"]), (&json!("$set"), &json!("user-1")));
    assert_eq!(event["properties"]["$set"], json!({"plan": "pro"}));
}

/// PostHog would take these and make nothing of them, or reject them with their batch.
#[tokio::test]
async fn what_identifies_nobody_is_counted_and_what_is_no_object_is_told() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    posthog.alias(" ", "user-1");
    posthog.alias("anonymous-1", "");
    posthog.group_identify("", "acme", json!({})).unwrap();
    posthog.group_identify("company", " ", json!({})).unwrap();
    posthog.set("", json!({})).unwrap();
    for properties in [json!(1), json!(["s3cret"]), json!(null)] {
        let error = posthog.group_identify("company", "acme", &properties).unwrap_err();
        assert!(
            matches!(&error, posthog_rs::Error::Serialization(text) if !text.contains("s3cret")),
            "{error}"
        );
        assert!(posthog.set("user-1", properties).is_err());
    }
    let ledger = posthog.stats();
    assert_eq!((ledger.captured, ledger.dropped.count(DropReason::NoDistinctId)), (5, 5));
    assert_balanced(ledger);
}

/// As the SDK's: the same event but for the frames, which are those of another call.
#[tokio::test]
async fn an_exception_is_what_the_sdk_sends_and_has_the_frames_of_its_capture() {
    let (ours, theirs) = (FakePostHog::start(), FakePostHog::start());
    let posthog = builder(&ours).build().unwrap();
    let plain = posthog_rs::client((FakePostHog::TOKEN, theirs.url().as_str())).await;
    let failed = io::Error::other("checkout failed");
    let about = || {
        CaptureExceptionOptions::new().property("step", 2).unwrap().group("company", "acme").level("warning")
    };
    context()
        .scope(async {
            captures_here(&posthog, &failed, about());
            plain.capture_exception_with(&failed, about()).await.unwrap();
        })
        .await;
    posthog.flush().await.unwrap();
    plain.flush().await;
    let ([our], [their]) = (&named(&ours, "$exception")[..], &named(&theirs, "$exception")[..]) else {
        panic!("one event each")
    };
    let frames = our["properties"]["$exception_list"][0]["stacktrace"]["frames"].as_array().unwrap();
    let is_here =
        |frame: &Value| frame["function"].as_str().is_some_and(|name| name.contains("captures_here"));
    assert!(frames.iter().any(is_here), "{frames:#?}");
    let without_frames = |event: &Value| {
        let mut event = comparable(event.clone());
        event["properties"]["$exception_list"][0]["stacktrace"].take();
        event["properties"]["$debug_images"].take();
        event
    };
    assert_eq!(without_frames(our), without_frames(their));
    assert_eq!(our["distinct_id"], "user-1");
    assert_only_ours_captured(&ours);
}

#[inline(never)]
fn captures_here(posthog: &PostHog, error: &io::Error, about: CaptureExceptionOptions) {
    posthog.capture_exception_with(error, about);
}

#[tokio::test]
async fn the_builders_error_tracking_is_what_exceptions_are_made_with() {
    let server = FakePostHog::start();
    let options = ErrorTrackingOptionsBuilder::default().capture_stacktrace(false).build().unwrap();
    let posthog = builder(&server).error_tracking(options).build().unwrap();
    posthog.capture_exception(&io::Error::other("checkout failed"));
    posthog.flush().await.unwrap();
    let [event] = &server.events()[..] else { panic!("one event") };
    let [exception] = &event["properties"]["$exception_list"].as_array().unwrap()[..] else { panic!("one") };
    assert_eq!((&exception["value"], exception.get("stacktrace")), (&json!("checkout failed"), None));
    assert_eq!(event["properties"]["$process_person_profile"], false, "nobody's");
}

/// On any thread, and whatever PostHog does.
#[test]
fn an_exception_can_be_captured_outside_the_runtime() {
    let server = FakePostHog::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let posthog = runtime.block_on(async { builder(&server).build().unwrap() });
    posthog.capture_exception(&io::Error::other("checkout failed"));
    runtime.block_on(posthog.flush()).unwrap();
    assert_eq!(named(&server, "$exception").len(), 1);
}

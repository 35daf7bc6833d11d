//! Every public method of the SDK's client, and where its events go.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use posthog_health::posthog_rs::{CaptureExceptionOptions, EvaluateFlagsOptions};
use posthog_health::testing::{FakePostHog, Host, Reply, Route};
use posthog_health::{DropReason, Event, PostHog, RequestContext};
use serde_json::{Value, json};

use crate::support::{MS, assert_balanced, builder, capture, event, flush_lossy};
use crate::{assert_only_ours_captured, flags, named};

/// What the SDK speaks by itself does not matter, nor what another crate has switched on in it.
#[tokio::test]
async fn the_sdk_captures_on_a_host_without_v1() {
    let server = FakePostHog::start();
    server.set_host(Host::WithoutV1(404));
    let posthog = builder(&server).build().unwrap();
    let sdk = posthog.sdk().await.unwrap();
    sdk.capture(Event::new("captured", "user-1"));
    sdk.capture_immediate(Event::new("immediate", "user-1")).await.unwrap();
    sdk.flush().await;
    posthog.flush().await.unwrap();
    assert_eq!([named(&server, "captured").len(), named(&server, "immediate").len()], [1, 1]);
    assert_eq!(server.request_count(Route::CaptureV1), 0);
    assert_only_ours_captured(&server);
}

/// The list of this crate's promise: what is captured through the SDK by any of its methods arrives once, by us.
#[tokio::test]
#[allow(deprecated, reason = "they are public")]
async fn every_method_of_the_sdk_captures_through_us() {
    let server = FakePostHog::start();
    server.flags().always(flags());
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let saw = Arc::clone(&seen);
    let posthog = builder(&server)
        .before_send(move |event| {
            *saw.lock().unwrap().entry(event.event_name().to_owned()).or_insert(0) += 1;
            Some(event)
        })
        .build()
        .unwrap();
    let sdk = posthog.sdk().await.unwrap();
    let failed = io::Error::other("checkout failed");

    sdk.capture(Event::new("captured", "user-1"));
    sdk.capture_batch(vec![Event::new("in a batch", "user-1"), Event::new("in a batch", "user-2")], false);
    sdk.capture_batch(vec![Event::new("historical", "user-1"), Event::new("historical", "user-2")], true);
    let summary = sdk.capture_immediate(Event::new("immediate", "user-1")).await.unwrap();
    assert_eq!(summary.submitted(), 0, "the SDK has sent nothing");
    let batch = vec![Event::new("immediate batch", "user-1"), Event::new("immediate batch", "user-2")];
    assert_eq!(sdk.capture_batch_immediate(batch, false).await.unwrap().submitted(), 0);
    sdk.alias("anonymous-1", "user-1");
    sdk.group_identify("company", "acme", json!({"employees": 11})).unwrap();
    sdk.capture_exception(&failed).await.unwrap();
    let about = CaptureExceptionOptions::new().distinct_id("user-1");
    sdk.capture_exception_with(&failed, about).await.unwrap();
    let evaluated = sdk.evaluate_flags("user-1", EvaluateFlagsOptions::default()).await.unwrap();
    for _ in 0..3 {
        assert!(evaluated.is_enabled("beta"), "the SDK sends one event for the same answer");
    }
    assert!(evaluated.get_flag("unknown").is_none());
    assert_eq!(evaluated.get_flag_payload("beta"), None, "no event");
    let context = RequestContext::new().distinct_id("user-2");
    let evaluated = sdk.evaluate_flags_with_context(&context, EvaluateFlagsOptions::default()).await.unwrap();
    assert!(evaluated.get_flag("beta").is_some());
    // Those that are said to make no event.
    assert!(sdk.is_feature_enabled("beta", "user-1", None, None, None).await.unwrap());
    assert!(sdk.get_feature_flag("beta", "user-1", None, None, None).await.unwrap().is_some());
    assert!(sdk.get_feature_flag_payload("beta", "user-1").await.unwrap().is_none());
    assert_eq!(sdk.get_feature_flags("user-1", None, None, None).await.unwrap().0.len(), 1);
    sdk.flush().await;

    posthog.flush().await.unwrap();
    let expected: BTreeMap<String, u64> = [
        ("captured", 1),
        ("in a batch", 2),
        ("historical", 2),
        ("immediate", 1),
        ("immediate batch", 2),
        ("$create_alias", 1),
        ("$groupidentify", 1),
        ("$exception", 2),
        ("$feature_flag_called", 3),
    ]
    .map(|(name, count)| (name.to_owned(), count))
    .into();
    let mut arrived = BTreeMap::new();
    for event in server.events() {
        *arrived.entry(event["event"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(arrived, expected);
    assert_eq!(*seen.lock().unwrap(), expected, "a hook sees each event once");
    let ledger = posthog.stats();
    assert_eq!((ledger.captured, ledger.delivered, ledger.queued), (15, 15, 0));
    assert_balanced(ledger);
    assert_only_ours_captured(&server);

    sdk.shutdown().await;
    drop(sdk);
    posthog.shutdown(Duration::from_secs(20)).await;
    assert_only_ours_captured(&server);
}

/// uuid, time, groups, request context and the enrichment, each once.
#[tokio::test]
async fn an_event_of_the_sdk_keeps_what_it_has_and_gets_nothing_twice() {
    let server = FakePostHog::start();
    let posthog = builder(&server).geoip(false).is_server(false).build().unwrap();
    let sdk = posthog.sdk().await.unwrap();
    let mut event = Event::new("ordered", "user-1");
    event.insert_prop("mine", "own").unwrap();
    event.add_group("company", "acme");
    let at: DateTime<Utc> = "2024-02-29T12:00:00.5Z".parse().unwrap();
    event.set_timestamp(at).unwrap();
    let uuid = serde_json::to_value(&event).unwrap()["uuid"].clone();
    let context = |mine: &str| {
        let context = RequestContext::new().session_id("session-1");
        context.property("mine", mine).unwrap().property("path", "/checkout").unwrap()
    };
    context("of the context").scope(async { sdk.capture(event) }).await;
    context("of the flush").scope(posthog.flush()).await.unwrap();

    let [event] = &server.events()[..] else { panic!("one event") };
    assert_eq!((&event["uuid"], &event["timestamp"]), (&uuid, &json!("2024-02-29T12:00:00.500Z")));
    let properties = event["properties"].as_object().unwrap();
    for (name, value) in [
        ("mine", json!("own")),
        ("path", json!("/checkout")),
        ("$session_id", json!("session-1")),
        ("$groups", json!({"company": "acme"})),
        ("$process_person_profile", json!(true)),
        ("$lib", json!("posthog-rs")),
        ("$geoip_disable", json!(true)),
    ] {
        assert_eq!(properties.get(name), Some(&value), "{name}");
    }
    assert_eq!(properties.get("$is_server"), None);
    let requests = server.requests();
    let body = String::from_utf8(requests[0].body.to_vec()).unwrap();
    for name in properties.keys() {
        assert_eq!(body.matches(&format!("{name:?}:")).count(), 1, "{name}");
    }
}

/// The time of an event is when it was captured, not when it came to us.
#[tokio::test]
async fn an_event_of_the_sdk_without_a_time_gets_that_of_its_capture() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    let sdk = posthog.sdk().await.unwrap();
    let before = Utc::now();
    sdk.capture(Event::new("a", "user-1"));
    sdk.capture_immediate(Event::new("b", "user-1")).await.unwrap();
    let after = Utc::now();
    posthog.flush().await.unwrap();
    assert_eq!(server.distinct(), 2);
    for event in server.events() {
        let at: DateTime<Utc> = event["timestamp"].as_str().unwrap().parse().unwrap();
        let micros = |time: DateTime<Utc>| time.timestamp_micros();
        assert!((micros(before)..=micros(after)).contains(&micros(at)), "{before} {at} {after}");
    }
}

#[tokio::test]
async fn what_we_refuse_of_the_sdk_is_counted_and_hooks_change_and_drop_it() {
    let server = FakePostHog::start();
    let posthog = builder(&server)
        .before_send(|mut event| {
            event.insert_prop("hooked", true).unwrap();
            (event.event_name() != "unwanted").then_some(event)
        })
        .build()
        .unwrap();
    let sdk = posthog.sdk().await.unwrap();
    for name in ["kept", "", "unwanted"] {
        sdk.capture(Event::new(name, "user-1"));
    }
    sdk.capture(Event::new("nobody's", " "));
    flush_lossy(&posthog).await;
    let [event] = &server.events()[..] else { panic!("one event") };
    assert_eq!((&event["event"], &event["properties"]["hooked"]), (&json!("kept"), &json!(true)));
    let ledger = posthog.stats();
    assert_balanced(ledger);
    for reason in [DropReason::NoName, DropReason::NoDistinctId, DropReason::BeforeSend] {
        assert_eq!(ledger.dropped.count(reason), 1, "{reason:?}");
    }
}

/// What `sdk()` says cannot be kept: if this fails, the SDK has changed, and its page with it.
#[tokio::test]
async fn a_minimised_flag_event_comes_with_all_its_properties() {
    let server = FakePostHog::start();
    server.flags().always(flags());
    let posthog = builder(&server).build().unwrap();
    let sdk = posthog.sdk().await.unwrap();
    let context = RequestContext::new().distinct_id("user-1").property("path", "/").unwrap();
    let flags = sdk.evaluate_flags_with_context(&context, EvaluateFlagsOptions::default()).await.unwrap();
    assert!(flags.is_enabled("beta"));
    posthog.flush().await.unwrap();
    let [event] = &named(&server, "$feature_flag_called")[..] else { panic!("one event") };
    let properties = &event["properties"];
    assert_eq!(properties["$feature_flag"], "beta");
    assert_eq!(properties["$feature_flag_response"], true);
    assert_eq!(properties["path"], "/", "the SDK alone would have taken it away");
    assert_ne!(properties["$feature/beta"], Value::Null, "and this");
}

/// The requests that the SDK does make go to the builder's host, with its token, by our HTTP client.
#[tokio::test]
async fn the_flag_requests_of_the_sdk_are_the_builders_and_follow_no_redirect() {
    let (server, elsewhere) = (FakePostHog::start(), FakePostHog::start());
    server.flags().always(Reply::status(307).header("location", format!("{}/flags/?v=2", elsewhere.url())));
    let posthog = builder(&server).geoip(false).build().unwrap();
    let sdk = posthog.sdk().await.unwrap();
    assert!(sdk.evaluate_flags("user-1", EvaluateFlagsOptions::default()).await.is_err());
    let [request] = &server.requests()[..] else { panic!("one request") };
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((&body["api_key"], &body["geoip_disable"]), (&json!(FakePostHog::TOKEN), &json!(true)));
    assert_eq!(elsewhere.requests().len(), 0);
}

#[tokio::test]
async fn a_disabled_client_has_no_sdk() {
    let posthog = posthog_health::PostHog::builder("").disabled(true).build().unwrap();
    assert!(posthog.sdk().await.is_none());
    assert!(posthog.sdk_options().is_none());
    posthog.capture_exception(&io::Error::other("nobody hears it"));
    assert_eq!(posthog.stats().dropped.count(DropReason::Disabled), 1);
}

/// The SDK's own queue counts nothing, so ours is the one that overflows.
#[tokio::test]
async fn a_burst_through_the_sdk_is_counted_to_the_last_event() {
    let server = FakePostHog::start();
    server.always(Reply::hang());
    let posthog = builder(&server).flush_timeout(MS(1)).build().unwrap();
    let sdk = posthog.sdk().await.unwrap();
    sdk.capture_batch((0..20_000).map(event).collect(), false);
    sdk.flush().await;
    let ledger = posthog.stats();
    assert_eq!((ledger.captured, ledger.queued), (20_000, 10_000));
    assert_eq!(ledger.dropped.count(DropReason::QueueFull), 10_000);
    assert_balanced(ledger);
    posthog.shutdown(MS(1)).await;
}

/// A hook that reports its own errors would otherwise meet itself without end: the SDK's thread brings the exception back.
#[tokio::test]
async fn an_exception_that_a_hook_captures_is_dropped_and_counted() {
    let server = FakePostHog::start();
    let itself: Arc<Mutex<Option<PostHog>>> = Arc::default();
    let hook = {
        let itself = Arc::clone(&itself);
        move |event| {
            let posthog = itself.lock().unwrap().clone();
            posthog.unwrap().capture_exception(&io::Error::other("from inside"));
            Some(event)
        }
    };
    let posthog = builder(&server).before_send(hook).build().unwrap();
    *itself.lock().unwrap() = Some(posthog.clone());
    capture(&posthog, 2);
    posthog.capture_exception(&io::Error::other("from outside"));
    server.wait_for_distinct(3).await;
    let ledger = posthog.stats();
    assert_eq!((ledger.captured, ledger.dropped.count(DropReason::InsideHook)), (6, 3));
    itself.lock().unwrap().take();
}

//! Choosing between V0 and V1.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use posthog_health::testing::{FakePostHog, Host, Reply, Route, Verdict};
use posthog_health::{CaptureProtocol, Event, PostHog};
use serde_json::json;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::support::{assert_balanced, builder, capture, event, until};
use super::{auto, names, requests, v1};

#[tokio::test]
async fn v0_is_the_default() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    capture(&posthog, 3);
    until(|| posthog.stats().delivered == 3).await;
    assert_eq!((server.request_count(Route::Batch), server.request_count(Route::CaptureV1)), (1, 0));
    let report: serde_json::Value = serde_json::from_str(&posthog.health().to_json()).unwrap();
    assert_eq!(report["capture"], json!({"protocol": "v0", "reason": "configured"}));
}

/// A large batch goes by V0 as long as V1 is not known to work.
#[tokio::test]
async fn a_host_of_ones_own_is_tried_with_one_small_batch() {
    let server = FakePostHog::start();
    let posthog = auto(&server).build().unwrap();
    capture(&posthog, 100);
    until(|| posthog.stats().delivered == 100).await;
    let sent: Vec<_> =
        server.requests().iter().map(|request| (request.route, names(request).len())).collect();
    // Requests that left at the same time may have overtaken it.
    let trial = sent.iter().find(|(route, _)| *route == Route::CaptureV1);
    assert_eq!(trial, Some(&(Route::CaptureV1, 10)), "{sent:?}");
    assert_eq!(posthog.health().capture.unwrap().protocol, CaptureProtocol::V1);
}

/// Whatever comes of a trial, its batch goes by V0.
#[tokio::test]
async fn a_trial_that_fails_costs_its_batch_nothing() {
    for reply in [
        Reply::status(500),
        Reply::status(429),
        Reply::error(400, "request_parsing_error"),
        Reply::hang(),
        Reply::reset(),
        Reply::html(),
    ] {
        let server = FakePostHog::start();
        server.capture_v1().always(reply);
        let posthog = auto(&server).build().unwrap();
        capture(&posthog, 5);
        until(|| posthog.stats().delivered == 5).await;
        capture(&posthog, 5);
        until(|| posthog.stats().delivered == 10).await;
        assert_eq!((server.request_count(Route::CaptureV1), server.request_count(Route::Batch)), (1, 2));
        assert!(posthog.health().is_healthy(), "{}", posthog.health());
        assert_eq!(posthog.health().capture.unwrap().protocol, CaptureProtocol::V0);
        assert_balanced(posthog.stats());
    }
}

/// The next request of a batch that failed by V1 may go by V0: nothing is lost, and PostHog counts each event once.
#[tokio::test]
async fn a_batch_changes_its_protocol_in_the_middle_of_its_retries() {
    let server = FakePostHog::start();
    let posthog = auto(&server).build().unwrap();
    posthog.capture(event(0));
    until(|| posthog.stats().delivered == 1).await;
    let again = Reply::normal().verdict(0..10, Verdict::new("retry")).retry_after("0");
    server.capture_v1().then(again);
    capture(&posthog, 20);
    until(|| posthog.stats().delivered == 11).await;
    server.set_host(Host::WithoutV1(404));
    until(|| posthog.stats().delivered == 21).await;
    assert_eq!((server.distinct(), server.accepted()), (21, 21));
    assert_eq!(server.request_count(Route::Batch), 1);
    assert_balanced(posthog.stats());
}

#[tokio::test]
async fn ai_events_take_v0_in_requests_of_their_own() {
    let server = FakePostHog::start();
    let posthog = v1(&server).build().unwrap();
    for n in 0..20 {
        let name = if n % 2 == 0 { "$ai_generation" } else { "signed up" };
        posthog.capture(Event::new(name, "user"));
    }
    until(|| posthog.stats().delivered == 20).await;
    assert!(requests(&server, Route::CaptureV1).iter().flat_map(names).all(|name| name == "signed up"));
    assert!(requests(&server, Route::Batch).iter().flat_map(names).all(|name| name == "$ai_generation"));
    assert_eq!((server.request_count(Route::CaptureV1), server.request_count(Route::Batch)), (1, 1));
}

/// `/batch/` refuses a whole batch for one of them.
#[tokio::test]
async fn a_large_ai_event_goes_alone_and_shrinks_no_batch() {
    for host in [Host::Cloud, Host::WithoutV1(404)] {
        let server = FakePostHog::start();
        server.set_host(host);
        let posthog = builder(&server).build().unwrap();
        let mut large = Event::new("$ai_generation", "user");
        large.insert_prop("$ai_input", "x".repeat(2_000_000)).unwrap();
        capture(&posthog, 10);
        posthog.capture(large);
        capture(&posthog, 10);
        until(|| posthog.stats().delivered >= 20).await;
        if host == Host::Cloud {
            until(|| posthog.stats().delivered == 21).await;
            let paths: Vec<_> = server.requests().iter().map(|request| request.path.clone()).collect();
            assert_eq!(paths.iter().filter(|path| *path == "/i/v0/ai/batch/").count(), 1);
            assert!(server.requests().iter().all(|request| request.status == Some(200)));
        } else {
            // An older host has one endpoint, and its limit.
            while posthog.stats().dead_lettered < 1 {
                capture(&posthog, 1);
                until(|| posthog.stats().queued <= 1).await;
            }
        }
        assert_balanced(posthog.stats());
    }
}

/// The probe knows the token, so something on the way removed it.
#[tokio::test]
async fn a_401_for_a_token_that_posthog_knows_is_a_proxys() {
    let server = FakePostHog::start();
    server.capture_v1().always(Reply::error(401, "invalid_api_token"));
    let posthog = v1(&server).build().unwrap();
    capture(&posthog, 1);
    until(|| posthog.health().last_error.is_some()).await;
    assert_eq!(posthog.health().reasons.iter().map(|r| r.code()).collect::<Vec<_>>(), ["wrong_host"]);
}

/// Log lines are foreign code, so none is written under a lock that health wants.
#[tokio::test]
async fn a_subscriber_may_ask_for_health_when_the_protocol_changes() {
    struct Asks(Arc<OnceLock<PostHog>>, Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Asks {
        fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
            if let Some(posthog) = self.0.get() {
                posthog.health();
                self.1.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    let (client, asked) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
    let asks = Asks(Arc::clone(&client), Arc::clone(&asked));
    let _guard = tracing_subscriber::registry().with(asks).set_default();
    let server = FakePostHog::start();
    let posthog = auto(&server).build().unwrap();
    client.set(posthog.clone()).unwrap();
    capture(&posthog, 1);
    until(|| posthog.stats().delivered == 1).await;
    assert_eq!(posthog.health().capture.unwrap().protocol, CaptureProtocol::V1);
    assert!(asked.load(Ordering::Relaxed) > 0);
}

//! Events that something on the way does not let pass, among others that it does. `client::tests::bad_events` has the times.

use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{AlertName, Event, Reason};

use super::support::{MS, assert_balanced, builder, capture, until};

const HOUR: Duration = Duration::from_secs(3600);

fn firewall_page() -> Reply {
    Reply::status(403).header("content-type", "text/html").body("<html><h1>Request blocked</h1></html>")
}

/// A firewall that dislikes one event: the others arrive, and nobody is told that the token is wrong.
#[tokio::test]
async fn a_firewall_that_refuses_one_event_holds_up_no_other_and_blames_no_token() {
    for reply in [firewall_page(), Reply::status(403).body("Forbidden"), Reply::status(401).body("no")] {
        let server = FakePostHog::start();
        server.reply_to_events_named("select * from", reply);
        let posthog = builder(&server).linger(HOUR).build().unwrap();
        capture(&posthog, 450);
        posthog.capture(Event::new("select * from", "user"));
        capture(&posthog, 549);
        until(|| posthog.stats().delivered == 999).await;
        capture(&posthog, 100);
        until(|| posthog.stats().delivered == 1_099).await;
        let names: Vec<_> = posthog.alerts().into_iter().map(|alert| alert.name).collect();
        assert!(
            !names.contains(&AlertName::AuthFailures) && !names.contains(&AlertName::ApiDown),
            "{names:?}"
        );
        assert!(!posthog.health().reasons.contains(&Reason::Unauthorized), "{:?}", posthog.health().reasons);
        // One verdict on the token serves all refusals of ten seconds.
        assert!(server.request_count(Route::Flags) <= 2, "{}", server.request_count(Route::Flags));
        assert_eq!((server.distinct(), posthog.stats().queued), (1_099, 1));
        assert_balanced(posthog.stats());
    }
}

/// The probe decides whose refusal it is.
#[tokio::test]
async fn a_refusal_is_the_tokens_if_the_probe_is_refused_and_otherwise_something_in_between() {
    let refused = Reply::status(403).body("Forbidden");
    for (probe, reason) in [
        (Reply::normal(), Reason::WrongHost),
        (firewall_page(), Reason::WrongHost),
        (Reply::status(401).body("unknown token"), Reason::Unauthorized),
        (Reply::status(503), Reason::WrongHost),
    ] {
        let server = FakePostHog::start();
        server.batch().always(refused.clone());
        server.flags().always(probe.clone());
        let posthog = builder(&server).build().unwrap();
        capture(&posthog, 1);
        until(|| posthog.health().last_error.is_some()).await;
        assert_eq!(posthog.health().reasons, [reason], "{probe:?}");
    }
}

/// A retry within the layers, and the circuit breaker's probe, carry other events than those that failed.
#[tokio::test]
async fn the_next_attempt_carries_other_events() {
    let server = FakePostHog::start();
    server.reply_to_events_named("poison", Reply::status(500));
    let posthog = builder(&server).batch_events(1).in_flight(1).build().unwrap();
    for _ in 0..20 {
        posthog.capture(Event::new("poison", "user"));
    }
    capture(&posthog, 20);
    until(|| posthog.stats().delivered == 20).await;
    let names = |requests: Vec<posthog_health::testing::Request>| -> Vec<String> {
        let body = |request: &posthog_health::testing::Request| {
            serde_json::from_slice::<serde_json::Value>(&request.body).unwrap()
        };
        requests.iter().map(|request| body(request)["batch"][0]["uuid"].to_string()).collect()
    };
    let tried =
        names(server.requests().into_iter().filter(|request| request.route == Route::Batch).collect());
    let first_20: std::collections::BTreeSet<_> = tried[..20].iter().collect();
    assert_eq!(first_20.len(), 20, "each attempt carried another event");
    assert_eq!(posthog.stats().dead_lettered, 0, "nobody is blamed so soon");
    posthog.shutdown(MS(1)).await;
}

/// A bad event that PostHog itself does not take, alone in its request.
#[tokio::test]
async fn a_small_event_that_is_answered_413_becomes_a_dead_letter_beside_others() {
    let server = FakePostHog::start();
    server.reply_to_events_named("poison", Reply::status(413));
    let posthog = builder(&server).build().unwrap();
    super::support::reject(&posthog, Event::new("poison", "user")).await;
    assert_eq!((posthog.stats().dead_lettered, posthog.stats().delivered), (1, 1));
}

/// A log subscriber is foreign code: its panics cost lines, and no event.
#[tokio::test]
async fn a_subscriber_that_panics_on_each_line_stops_no_delivery() {
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
    struct Panics;
    impl<S: tracing::Subscriber> Layer<S> for Panics {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            if event.metadata().target() == "posthog_health::delivery" {
                panic!("a bug in a subscriber");
            }
        }
    }
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(Panics));
    let server = FakePostHog::start();
    server.reject_events_named(&["poison"]);
    server.batch().then(Reply::status(402)).then(Reply::status(413));
    let posthog = builder(&server).queue_events(1_000).build().unwrap();
    capture(&posthog, 2_000);
    until(|| posthog.stats().queued == 0).await;
    super::support::reject(&posthog, Event::new("poison", "user")).await;
    capture(&posthog, 100);
    until(|| posthog.stats().queued == 0).await;
    assert_eq!(posthog.stats().dead_lettered, 1);
    assert_balanced(posthog.stats());
}

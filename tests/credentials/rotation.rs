//! A token is revoked, another takes its place: without restart and without loss.

use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{AlertName, AlertTransition, PostHog, Reason};
use tokio::time::interval;
use tracing::Level;

use crate::log::Log;
use crate::support::{MS, assert_balanced, builder, capture, event, until};
use crate::{HOUR, Mount, NEW, OLD, token_of_batch};

const EVENTS: usize = 3_000;

/// A thousand a second.
async fn traffic(posthog: PostHog) {
    let mut tick = interval(MS(10));
    for n in 0..EVENTS / 10 {
        tick.tick().await;
        (0..10).for_each(|k| posthog.capture(event(n * 10 + k)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_under_load_loses_nothing() {
    let (server, mount) = (FakePostHog::start(), Mount::new());
    let posthog = builder(&server).credentials(mount.source()).build().unwrap();
    let mut transitions = posthog.subscribe_alerts();
    let traffic = tokio::spawn(traffic(posthog.clone()));
    server.wait_for_distinct(500).await;

    server.know_token(NEW);
    server.revoke_token(OLD);
    let fires = async {
        loop {
            if let AlertTransition::Firing(alert) = transitions.next().await.unwrap() {
                break alert.name;
            }
        }
    };
    assert_eq!(fires.await, AlertName::AuthFailures);
    assert_eq!(posthog.health().reasons, [Reason::Unauthorized]);
    assert!(!traffic.is_finished(), "events come before, during and after");

    mount.swap(NEW);
    traffic.await.unwrap();
    posthog.flush().await.unwrap();
    assert_eq!(posthog.health_check().await.reasons, []);
    posthog.shutdown(Duration::from_secs(10)).await;
    let ledger = posthog.stats();
    assert_balanced(ledger);
    assert_eq!((ledger.captured, ledger.delivered), (EVENTS as u64, EVENTS as u64), "{ledger:?}");
    assert_eq!((server.distinct(), server.accepted()), (EVENTS, EVENTS), "each once");
}

/// PostHog itself: `/batch/` takes the events of a token that was reset, and throws them away. Only the probe tells.
#[tokio::test]
async fn a_probe_that_finds_the_token_reset_holds_events_back_for_the_next() {
    let (server, mount) = (FakePostHog::start(), Mount::new());
    let configured = builder(&server).credentials(mount.source());
    let posthog = configured.refusal_pause(HOUR).probe_cache(HOUR).build().unwrap();
    server.forget_token(OLD);
    server.know_token(NEW);
    assert_eq!(posthog.health_check().await.reasons, [Reason::Unauthorized]);
    capture(&posthog, 50);
    mount.swap(NEW);
    // The source is asked again by itself. What was found of the old token ends with it: the hour's pause first, …
    posthog.flush().await.unwrap();
    assert_eq!(posthog.stats().delivered, 50);
    let batches = server.request_count(Route::Batch);
    assert!((0..batches).all(|n| token_of_batch(&server, n) == NEW), "none went with the old one");
    // … and what the next question is answered from.
    assert_eq!(posthog.health_check().await.reasons, []);
}

/// Nobody asks for health again: delivery itself finds out that the token is accepted.
#[tokio::test]
async fn a_token_that_is_accepted_again_is_noticed_and_nothing_was_thrown_away() {
    let server = FakePostHog::start();
    let posthog = builder(&server).refusal_pause(MS(50)).probe_cache(HOUR).linger(MS(5)).build().unwrap();
    server.forget_token(FakePostHog::TOKEN);
    assert_eq!(posthog.health_check().await.reasons, [Reason::Unauthorized]);
    capture(&posthog, 500);
    // Delivery asks, again and again, and sends nothing.
    let asked = server.request_count(Route::Flags);
    until(|| server.request_count(Route::Flags) >= asked + 2).await;
    assert_eq!(server.request_count(Route::Batch), 0);
    server.know_token(FakePostHog::TOKEN);
    until(|| posthog.stats().delivered == 500).await;
    assert_eq!((server.distinct(), posthog.alerts().len()), (500, 1));
    assert_eq!(posthog.health().reasons, []);
}

#[tokio::test]
async fn a_new_token_ends_the_pause_of_the_old_one_at_once() {
    for status in [401, 403] {
        let (log, _guard) = Log::start(Level::TRACE);
        let (server, mount) = (FakePostHog::start(), Mount::new());
        server.batch().then(Reply::status(status));
        let posthog = builder(&server).credentials(mount.source()).refusal_pause(HOUR).build().unwrap();
        capture(&posthog, 10);
        until(|| log.text().contains("delivery to PostHog pauses")).await;
        mount.swap(NEW);
        // Unless the refusal made it read the new one already.
        posthog.reload_credentials().await.unwrap();
        posthog.flush().await.unwrap();
        assert_eq!(token_of_batch(&server, 1), NEW);
        let text = log.text();
        let at = |what: &str| text.find(what).unwrap();
        assert!(at("project token changed") < at("delivery resumed"), "{text}");
        assert!(at("delivery resumed") < at("attempt answered"), "and not with the first success: {text}");
    }
}

/// What is under way is answered for the token that it was sent with.
#[tokio::test]
async fn a_refusal_of_the_token_before_holds_nothing_up() {
    let (log, _guard) = Log::start(Level::TRACE);
    let (server, mount) = (FakePostHog::start(), Mount::new());
    server.batch().then(Reply::status(401).delayed(MS(300)));
    let posthog = builder(&server).credentials(mount.source()).refusal_pause(HOUR).build().unwrap();
    capture(&posthog, 10);
    server.wait_for_requests(Route::Batch, 1).await;
    mount.swap(NEW);
    let was_under_way = posthog.reload_credentials().await.unwrap()
        && !log.text().contains("attempt to reach PostHog failed");
    until(|| posthog.stats().delivered == 10).await;
    assert_eq!(server.request_count(Route::Batch), 2);
    assert!(!(was_under_way && log.text().contains("delivery to PostHog pauses")), "{}", log.text());
}

/// What is found of the token before is no answer about the new one.
#[tokio::test]
async fn a_health_check_in_flight_goes_over_to_the_new_token() {
    let (server, mount) = (FakePostHog::start(), Mount::new());
    server.flags().then(Reply::hang());
    server.know_token(NEW);
    let posthog = builder(&server).credentials(mount.source()).probe_timeout(HOUR).build().unwrap();
    let checking = tokio::spawn({
        let posthog = posthog.clone();
        async move { posthog.health_check().await }
    });
    server.wait_for_requests(Route::Flags, 1).await;
    mount.swap(NEW);
    posthog.reload_credentials().await.unwrap();
    assert_eq!(checking.await.unwrap().reasons, []);
    assert_eq!(server.request_count(Route::Flags), 2);
}

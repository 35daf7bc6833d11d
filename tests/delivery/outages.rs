//! A PostHog that fails, in every way.

use std::time::Duration;

use posthog_health::layers::CircuitState;
use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{DropReason, ErrorKind, Event, FlagOptions, Reason};

use super::support::{MS, assert_balanced, breaker, builder, capture, event, flush_lossy, until};
use super::{batches, body, time};

/// Guarantee 3: at-least-once, counted once.
#[tokio::test]
async fn each_attempt_has_the_same_uuids_and_timestamps_and_a_fresh_sent_at() {
    let server = FakePostHog::start();
    server.batch().then(Reply::status(503)).then(Reply::close()).then(Reply::truncated_body());
    let posthog = builder(&server).build().unwrap();
    capture(&posthog, 10);
    posthog.flush().await.unwrap();
    let bodies: Vec<_> = batches(&server).iter().map(body).collect();
    assert_eq!(bodies.len(), 4);
    for pair in bodies.windows(2) {
        assert_eq!(pair[0]["batch"], pair[1]["batch"]);
        assert!(time(&pair[0]["sent_at"]) < time(&pair[1]["sent_at"]));
    }
    assert!(server.uuid_counts().len() == 10 && posthog.stats().delivered == 10);
}

/// Guarantee 2, at every moment, from many threads, with failures all along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_balances_at_every_moment() {
    let server = FakePostHog::start();
    let posthog = builder(&server)
        .queue_events(500)
        .before_send(|event| (!event.distinct_id().ends_with('7')).then_some(event))
        .build()
        .unwrap();
    let captured = 4 * 2_000;
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let posthog = posthog.clone();
            std::thread::spawn(move || {
                for n in 0..2_000 {
                    posthog.capture(if n % 10 == 3 { Event::new("", "u") } else { event(n) });
                    if n % 100 == 0 {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let faults = [Reply::status(503), Reply::status(429), Reply::reset(), Reply::close(), Reply::status(401)];
    for fault in faults.iter().cycle().take(50) {
        server.batch().then(fault.clone());
    }
    while threads.iter().any(|thread| !thread.is_finished()) {
        assert_balanced(posthog.stats());
        tokio::task::yield_now().await;
    }
    let report = posthog.shutdown(Duration::from_secs(20)).await;
    let ledger = posthog.stats();
    assert_balanced(ledger);
    assert_eq!((ledger.captured, ledger.queued, report.undelivered), (captured, 0, 0));
    assert_eq!(ledger.delivered as usize, server.distinct(), "what the server took is what we counted");
    assert_eq!(ledger.dropped.count(DropReason::NoName), captured / 10);
    assert!(ledger.dropped.count(DropReason::BeforeSend) > 0);
}

/// Guarantee 5, for every way in which PostHog can be away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_loses_nothing_makes_no_storm_and_ends_by_itself() {
    for fault in [
        Reply::status(500),
        Reply::status(503),
        Reply::status(408),
        Reply::close(),
        Reply::reset(),
        Reply::reset_mid_body(),
        Reply::truncated_body(),
        Reply::hang(),
        Reply::hang_after_headers(),
    ] {
        let server = FakePostHog::start();
        server.always(fault.clone());
        let open_time = breaker().open_time(MS(20), MS(100));
        // Short where only the timeout ends an attempt; elsewhere no limit that a busy machine could meet.
        let ends_by_timeout = format!("{fault:?}").contains("Hang");
        let timeout = if ends_by_timeout { MS(100) } else { MS(10_000) };
        let posthog = builder(&server).circuit_breaker(open_time).request_timeout(timeout).build().unwrap();
        capture(&posthog, 2_000);
        server.wait_for_requests(Route::Batch, 8).await;
        until(|| posthog.circuit_breaker().unwrap().state() != CircuitState::Closed).await;
        assert!(!posthog.health().is_healthy());
        assert_eq!(posthog.stats().queued, 2_000, "{fault:?}");

        server.recover();
        let during = server.request_count(Route::Batch);
        posthog.flush().await.unwrap();
        // Batches grow back from what they were halved to.
        let needed = 2_000 / 100 + 7 * 4;
        assert!(server.request_count(Route::Batch) - during < needed + 10, "no storm");
        assert_eq!((posthog.stats().delivered, server.distinct()), (2_000, 2_000), "{fault:?}");
        assert!(posthog.health().is_healthy(), "{}", posthog.health());
        posthog.shutdown(MS(1000)).await;
    }
}

#[tokio::test]
async fn a_refused_connection_is_an_outage_too() {
    let server = FakePostHog::start();
    server.refuse();
    let posthog = builder(&server).build().unwrap();
    capture(&posthog, 500);
    until(|| posthog.circuit_breaker().unwrap().retry_in().is_some()).await;
    server.accept();
    posthog.flush().await.unwrap();
    assert_eq!(server.distinct(), 500);
}

#[tokio::test]
async fn a_429_waits_as_long_as_it_says_and_never_opens_the_breaker() {
    let server = FakePostHog::start();
    server.batch().always(Reply::status(429));
    let posthog = builder(&server).build().unwrap();
    let states = posthog.circuit_breaker().unwrap().subscribe();
    capture(&posthog, 1_000);
    server.wait_for_requests(Route::Batch, 20).await;
    server.recover();
    posthog.flush().await.unwrap();
    assert_eq!(server.distinct(), 1_000);
    assert!(!states.has_changed().unwrap(), "a breaker opened by 429s alone never happens");
}

/// One `Retry-After` drives retry, limiter and breaker; flush does not hurry it.
#[tokio::test]
async fn flush_never_makes_a_retry_come_earlier_than_the_server_asked() {
    for status in [429, 503] {
        let server = FakePostHog::start();
        server.batch().then(Reply::status(status).retry_after("1"));
        let posthog = builder(&server).flush_timeout(MS(200)).build().unwrap();
        capture(&posthog, 1);
        assert_eq!(posthog.flush().await.unwrap_err().undelivered, 1);
        assert_eq!(server.request_count(Route::Batch), 1);
        server.wait_for_distinct(1).await;
        let requests = batches(&server);
        let waited = requests[1].at - requests[0].at;
        assert!(waited >= Duration::from_secs(1), "{status}: {waited:?}");
        until(|| posthog.stats().delivered == 1).await;
    }
}

#[tokio::test]
async fn a_refused_token_stops_sending_keeps_the_events_and_recovers_without_a_restart() {
    for refusal in [
        Reply::status(401),
        Reply::status(403),
        Reply::status(402),
        Reply::status(404),
        Reply::html(),
        Reply::redirect("https://elsewhere.example/"),
    ] {
        let server = FakePostHog::start();
        server.batch().always(refusal.clone());
        let posthog = builder(&server).build().unwrap();
        capture(&posthog, 300);
        server.wait_for_requests(Route::Batch, 6).await;
        // The first flight is three batches; from then on one request a pause is enough to find out.
        let requests = batches(&server).split_off(2);
        let gaps = requests.windows(2).map(|pair| pair[1].at - pair[0].at);
        assert!(gaps.min().unwrap() >= MS(19), "tries again slowly: {refusal:?}");
        until(|| posthog.health().last_error.is_some()).await;
        assert_eq!(posthog.stats().queued, 300, "{refusal:?}");
        server.recover();
        posthog.flush().await.unwrap();
        assert_eq!((posthog.stats().delivered, server.distinct()), (300, 300), "{refusal:?}");
    }
}

#[tokio::test]
async fn over_quota_is_counted_as_lost_and_told() {
    let server = FakePostHog::start();
    server.limit_quota(true);
    let posthog = builder(&server).build().unwrap();
    capture(&posthog, 10);
    flush_lossy(&posthog).await;
    assert_eq!(posthog.stats().dropped.count(DropReason::OverQuota), 10);
    assert!(posthog.health().reasons.contains(&Reason::QuotaExceeded));
    server.limit_quota(false);
    capture(&posthog, 10);
    posthog.flush().await.unwrap();
    assert_eq!(posthog.stats().delivered, 10);
    assert!(!posthog.health().reasons.contains(&Reason::QuotaExceeded));
}

/// A token must not travel to where it was not sent.
#[tokio::test]
async fn no_request_follows_a_redirect() {
    let (server, elsewhere) = (FakePostHog::start(), FakePostHog::start());
    for status in [301, 302, 303, 307, 308] {
        server.always(Reply::status(status).header("location", elsewhere.url()));
        let posthog = builder(&server).build().unwrap();
        let before = server.request_count(Route::Batch);
        capture(&posthog, 1);
        server.wait_for_requests(Route::Batch, before + 1).await;
        let reasons = posthog.health_check().await.reasons;
        assert!(reasons.contains(&Reason::WrongHost), "{status}: {reasons:?}");
        let flags = posthog.flags("user-1", FlagOptions::default()).await;
        assert_eq!(flags.error(), Some(ErrorKind::WrongHost));
        posthog.shutdown(MS(0)).await;
    }
    assert_eq!(elsewhere.requests().len(), 0);
}

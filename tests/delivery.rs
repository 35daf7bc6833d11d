//! Captured events on their way to a PostHog that works, and to one that fails in every way.

#[path = "support/client.rs"]
mod support;

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use posthog_health::layers::circuit_breaker::State;
use posthog_health::layers::{RateLimitConfig, RetryConfig};
use posthog_health::testing::{FakePostHog, Reply, Request, Route};
use posthog_health::{DropReason, Event, Overflow, PostHog, RequestContext};
use serde_json::{Value, json};
use support::{MS, assert_balanced, breaker, builder, capture, event, until};

fn batches(server: &FakePostHog) -> Vec<Request> {
    server.requests().into_iter().filter(|request| request.route == Route::Batch).collect()
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

fn uuids(batch: &Value) -> Vec<String> {
    batch["batch"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["uuid"].as_str().unwrap().to_owned())
        .collect()
}

fn time(text: &Value) -> SystemTime {
    humantime::parse_rfc3339(text.as_str().unwrap()).unwrap()
}

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
        let mut large = event(n);
        large.insert_prop("filler", "x".repeat(2_000)).unwrap();
        posthog.capture(large);
    }
    posthog.flush().await.unwrap();
    assert_eq!(server.distinct(), 20);
    assert!(batches(&server).iter().all(|request| request.wire_bytes <= 10_000));
}

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
        until(|| posthog.circuit_breaker().unwrap().state() != State::Closed).await;
        assert!(!posthog.health().is_healthy());
        assert_eq!(posthog.stats().queued, 2_000, "{fault:?}");

        server.recover();
        let during = server.request_count(Route::Batch);
        posthog.flush().await.unwrap();
        let needed = 2_000 / 100;
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
async fn a_batch_that_is_too_large_goes_in_smaller_ones() {
    let server = FakePostHog::start();
    server.limit_body(20_000);
    let posthog = builder(&server).gzip(false).in_flight(1).build().unwrap();
    capture(&posthog, 200);
    posthog.flush().await.unwrap();
    assert_eq!((posthog.stats().delivered, server.distinct()), (200, 200));
}

#[tokio::test]
async fn over_quota_is_counted_as_lost_and_told() {
    let server = FakePostHog::start();
    server.limit_quota(true);
    let posthog = builder(&server).build().unwrap();
    capture(&posthog, 10);
    posthog.flush().await.unwrap();
    assert_eq!(posthog.stats().dropped.count(DropReason::OverQuota), 10);
    assert!(posthog.health().reasons.contains(&posthog_health::Reason::QuotaExceeded));
    server.limit_quota(false);
    capture(&posthog, 10);
    posthog.flush().await.unwrap();
    assert_eq!(posthog.stats().delivered, 10);
    assert!(!posthog.health().reasons.contains(&posthog_health::Reason::QuotaExceeded));
}

#[tokio::test]
async fn events_that_would_cost_their_batch_are_refused_at_the_door() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    posthog.capture(Event::new("", "user"));
    posthog.capture(Event::new("event", " "));
    capture(&posthog, 1);
    posthog.flush().await.unwrap();
    let dropped = posthog.stats().dropped;
    assert_eq!((dropped.count(DropReason::NoName), dropped.count(DropReason::NoDistinctId)), (1, 1));
    assert_eq!(server.distinct(), 1);
}

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
    posthog.flush().await.unwrap();
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
    let mut large = event(0);
    large.insert_prop("filler", "x".repeat(20_000)).unwrap();
    posthog.capture(large);
    posthog.flush().await.unwrap();
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
        let mut large = event(n);
        large.insert_prop("filler", "x".repeat(5_000)).unwrap();
        posthog.capture(large);
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
        let mut large = event(0);
        large.insert_prop("filler", "x".repeat(900_000)).unwrap();
        posthog.capture(large);
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
        let mut large = event(n);
        large.insert_prop("filler", "x".repeat(5_000)).unwrap();
        posthog.capture(large);
    }
    until(|| posthog.health().queue.bytes > 0 && posthog.stats().queued < 150).await;
    let fill = posthog.health().queue;
    assert!(fill.events <= 128 + 20, "one in 128 is measured, and then all: {fill:?}");
    assert_balanced(posthog.stats());
}

#[tokio::test]
async fn hooks_change_and_drop_events_and_a_panicking_hook_costs_one() {
    let server = FakePostHog::start();
    let posthog = builder(&server)
        .before_send(|mut event: Event| {
            event.remove_prop("secret");
            Some(event)
        })
        .before_send(|event: Event| match event.event_name() {
            "drop" => None,
            "panic" => panic!("a hook's bug"),
            _ => Some(event),
        })
        .build()
        .unwrap();
    for name in ["keep", "drop", "panic", "keep"] {
        let mut event = Event::new(name, "u");
        event.insert_prop("secret", "s").unwrap();
        posthog.capture(event);
    }
    posthog.flush().await.unwrap();
    let dropped = posthog.stats().dropped;
    assert_eq!((dropped.count(DropReason::BeforeSend), dropped.count(DropReason::HookPanicked)), (1, 1));
    assert_eq!(server.events().len(), 2);
    assert!(server.events().iter().all(|event| event["properties"].get("secret").is_none()));
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
    assert!(requests[20].at - requests[0].at >= MS(190));
}

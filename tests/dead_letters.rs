//! Events that PostHog will not take: found among the good ones, set aside, looked at, replayed.

#[path = "support/client.rs"]
mod support;

use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{DeadLetter, DropReason, ErrorKind, Event, PostHog, Reason};
use serde_json::Value;
use support::refusal;
use support::{MS, assert_balanced, builder, capture, event, flush_lossy, large_event, reject, until};

/// An event that PostHog rejects, and with it the batch that it travels in.
fn poison(posthog: &PostHog) {
    posthog.capture(Event::new("poison", "u"));
}

fn server_that_rejects_poison() -> FakePostHog {
    let server = FakePostHog::start();
    server.reject_events_named(&["poison"]);
    server
}

/// Guarantee 4: one bad event costs one event.
#[tokio::test]
async fn one_bad_event_costs_one_event_and_few_requests() {
    for place in [0, 1, 37, 50, 98, 99] {
        let server = server_that_rejects_poison();
        let posthog = builder(&server).linger(Duration::from_secs(3600)).build().unwrap();
        (0..place).for_each(|n| posthog.capture(event(n)));
        poison(&posthog);
        (place + 1..100).for_each(|n| posthog.capture(event(n)));
        flush_lossy(&posthog).await;
        let ledger = posthog.stats();
        assert_balanced(ledger);
        assert_eq!((ledger.delivered, ledger.dead_lettered, server.distinct()), (99, 1, 99));
        // The batch, two requests for each of seven halvings, and the event once more.
        assert!(server.request_count(Route::Batch) <= 16, "{}", server.request_count(Route::Batch));

        let letter = posthog.dead_letters().remove(0);
        assert_eq!((letter.kind, letter.status), (ErrorKind::BadRequest, Some(400)));
        assert_eq!(posthog.health().reasons, [Reason::RejectedEvents]);
    }
}

#[tokio::test]
async fn two_bad_events_in_a_batch_are_both_found() {
    let server = server_that_rejects_poison();
    let posthog = builder(&server).linger(Duration::from_secs(3600)).build().unwrap();
    capture(&posthog, 20);
    poison(&posthog);
    capture(&posthog, 60);
    poison(&posthog);
    capture(&posthog, 18);
    flush_lossy(&posthog).await;
    assert_eq!((posthog.stats().delivered, posthog.stats().dead_lettered), (98, 2));
}

/// Five bad ones in each hundred: the good ones must not wait for a search that gives up.
#[tokio::test]
async fn many_bad_events_do_not_stop_the_good_ones() {
    let server = server_that_rejects_poison();
    let hour = Duration::from_secs(3600);
    let posthog = builder(&server).linger(hour).refusal_pause(hour).build().unwrap();
    for _ in 0..10 {
        (0..5).for_each(|_| poison(&posthog));
        capture(&posthog, 95);
    }
    flush_lossy(&posthog).await;
    assert_eq!((posthog.stats().delivered, posthog.stats().dead_lettered), (950, 50));
}

/// What nobody takes is parked, and the rest goes on.
#[tokio::test]
async fn a_wrong_schema_beside_good_traffic_parks_and_returns_when_it_is_mended() {
    let server = server_that_rejects_poison();
    let posthog = builder(&server).linger(MS(50)).build().unwrap();
    (0..300).for_each(|_| poison(&posthog));
    capture(&posthog, 500);
    // The good batches are not held up by the bad ones.
    until(|| posthog.stats().delivered == 500).await;
    server.reject_events_named(&[]);
    until(|| posthog.stats().queued == 0).await;
    let ledger = posthog.stats();
    assert_eq!(ledger.delivered + ledger.dead_lettered, 800);
    assert!(ledger.dead_lettered < 200, "{ledger}");
}

/// A wrong schema must not multiply the traffic.
#[tokio::test]
async fn a_batch_that_is_all_bad_costs_few_requests_and_keeps_its_events() {
    let server = server_that_rejects_poison();
    let patient = builder(&server).refusal_pause(Duration::from_secs(3600)).flush_timeout(MS(50));
    let posthog = patient.build().unwrap();
    (0..100).for_each(|_| poison(&posthog));
    server.wait_for_requests(Route::Batch, 16).await;
    assert!(posthog.flush().await.is_err());
    assert_eq!(server.request_count(Route::Batch), 16);
    let ledger = posthog.stats();
    assert!(ledger.dead_lettered < 10 && ledger.dead_lettered + ledger.queued == 100, "{ledger}");
    assert!(posthog.health().reasons.contains(&Reason::RejectedEvents));
}

#[tokio::test]
async fn an_outage_in_the_middle_of_the_search_loses_nothing() {
    let server = server_that_rejects_poison();
    let posthog = builder(&server).linger(Duration::from_secs(3600)).build().unwrap();
    capture(&posthog, 64);
    poison(&posthog);
    capture(&posthog, 35);
    let faults =
        [Reply::normal(), Reply::status(503), Reply::status(503), Reply::reset(), Reply::status(503)];
    for fault in faults {
        server.batch().then(fault);
    }
    flush_lossy(&posthog).await;
    assert_eq!((posthog.stats().delivered, posthog.stats().dead_lettered, server.distinct()), (99, 1, 99));
}

/// The 413 may come as a broken pipe, since the server closes while we still write.
#[tokio::test]
async fn an_event_that_is_too_large_for_the_server_costs_only_itself() {
    let server = FakePostHog::start();
    server.limit_body(1_000_000);
    let posthog = builder(&server).gzip(false).event_bytes(10_000_000).build().unwrap();
    posthog.capture(large_event(0, 8_000_000));
    refusal(&posthog, std::time::Instant::now() - MS(5_000)).await;
    capture(&posthog, 50);
    flush_lossy(&posthog).await;
    assert_eq!((posthog.stats().delivered, posthog.stats().dead_lettered), (50, 1));
    assert_eq!(posthog.dead_letters()[0].kind, ErrorKind::TooLarge);
}

/// Something that answers 413 to everything is not PostHog's limit.
#[tokio::test]
async fn a_413_to_everything_burns_no_events_and_is_forgotten_when_it_ends() {
    let server = FakePostHog::start();
    server.batch().always(Reply::status(413));
    let posthog = builder(&server).build().unwrap();
    capture(&posthog, 1_000);
    server.wait_for_requests(Route::Batch, 20).await;
    assert_eq!((posthog.stats().queued, posthog.stats().dead_lettered), (1_000, 0));
    server.recover();
    posthog.flush().await.unwrap();
    assert_eq!(posthog.stats().delivered, 1_000);
    let before = server.request_count(Route::Batch);
    capture(&posthog, 1_000);
    posthog.flush().await.unwrap();
    assert!(server.request_count(Route::Batch) - before < 40, "batches are large again");
}

/// No PostHog takes so little: it is something else that answers.
#[tokio::test]
async fn a_413_to_one_small_event_does_not_burn_it() {
    let server = FakePostHog::start();
    server.batch().always(Reply::status(413));
    let posthog = builder(&server).build().unwrap();
    capture(&posthog, 1);
    server.wait_for_requests(Route::Batch, 3).await;
    assert_eq!((posthog.stats().queued, posthog.stats().dead_lettered), (1, 0));
    server.recover();
    posthog.flush().await.unwrap();
    assert_eq!(posthog.stats().delivered, 1);
}

/// A connection that breaks says little about the event that was on it.
#[tokio::test]
async fn one_reset_does_not_cost_a_large_event() {
    let server = FakePostHog::start();
    server.batch().then(Reply::reset());
    let posthog = builder(&server).gzip(false).build().unwrap();
    posthog.capture(large_event(0, 700_000));
    posthog.flush().await.unwrap();
    assert_eq!((posthog.stats().delivered, posthog.stats().dead_lettered), (1, 0));
}

#[tokio::test]
async fn a_letter_larger_than_the_store_does_not_empty_it() {
    let server = server_that_rejects_poison();
    let posthog = builder(&server).batch_events(1).dead_letter_bytes(1_000_000).build().unwrap();
    for _ in 0..5 {
        reject(&posthog, Event::new("poison", "u")).await;
    }
    posthog.capture(large_event(0, 1_200_000));
    let ledger = posthog.stats();
    assert_eq!((ledger.dead_lettered, ledger.dropped.count(DropReason::DeadLettersFull)), (5, 1));

    let mut large = Event::new("poison", "u");
    large.insert_prop("filler", "x".repeat(999_000)).unwrap();
    let now = std::time::Instant::now();
    posthog.capture(large);
    refusal(&posthog, now).await;
    capture(&posthog, 1);
    flush_lossy(&posthog).await;
    let bytes: usize = posthog.dead_letters().iter().map(|letter| letter.event.len()).sum();
    assert!(bytes <= 1_000_000 && posthog.stats().dead_lettered < 5);
}

#[tokio::test]
async fn an_event_over_the_limit_is_never_sent() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    posthog.capture(large_event(0, 1_000_000));
    flush_lossy(&posthog).await;
    let letter = posthog.dead_letters().remove(0);
    assert_eq!((letter.kind, letter.status, server.requests().len()), (ErrorKind::TooLarge, None, 0));
}

#[tokio::test]
async fn dead_letters_can_be_exported_and_replayed() {
    let server = server_that_rejects_poison();
    let posthog = builder(&server).batch_events(1).build().unwrap();
    reject(&posthog, Event::new("poison", "u")).await;
    let letter = posthog.dead_letters().remove(0);
    let line: Value = serde_json::from_str(&serde_json::to_string(&letter).unwrap()).unwrap();
    assert_eq!(line["event"]["event"], "poison");
    assert_eq!((&line["kind"], &line["status"]), (&Value::from("bad_request"), &Value::from(400)));
    assert!(line["answer"].as_str().unwrap().contains("poison") && line["at"].is_string(), "{line}");
    assert!(!format!("{letter:?}").contains("poison"), "{letter:?}");

    // Still wrong: it comes back.
    let now = std::time::Instant::now();
    assert_eq!(posthog.replay_dead_letters(), 1);
    refusal(&posthog, now).await;
    capture(&posthog, 1);
    flush_lossy(&posthog).await;
    assert_eq!(posthog.stats().dead_lettered, 1);

    server.reject_events_named(&[]);
    assert_eq!(posthog.replay_dead_letters(), 1);
    posthog.flush().await.unwrap();
    let arrived = server.events().pop().unwrap();
    assert_eq!(
        (&arrived["uuid"], &arrived["timestamp"]),
        (&line["event"]["uuid"], &line["event"]["timestamp"])
    );
    let ledger = posthog.stats();
    assert_eq!((ledger.captured, ledger.delivered, ledger.dead_lettered), (3, 3, 0));
    assert_balanced(ledger);
}

#[tokio::test]
async fn the_store_is_bounded_and_can_be_emptied() {
    let server = server_that_rejects_poison();
    let posthog = builder(&server).batch_events(1).dead_letter_events(5).build().unwrap();
    for n in 0..8 {
        let mut poison = Event::new("poison", "u");
        poison.insert_prop("n", n).unwrap();
        let now = std::time::Instant::now();
        posthog.capture(poison);
        refusal(&posthog, now).await;
        capture(&posthog, 1);
        flush_lossy(&posthog).await;
    }
    let ledger = posthog.stats();
    assert_eq!((ledger.dead_lettered, ledger.dropped.count(DropReason::DeadLettersFull)), (5, 3));
    let number = |letter: DeadLetter| {
        serde_json::from_slice::<Value>(&letter.event).unwrap()["properties"]["n"].clone()
    };
    let kept: Vec<_> = posthog.dead_letters().into_iter().map(number).collect();
    assert_eq!(kept, [3, 4, 5, 6, 7], "the oldest made room");
    assert!(posthog.health().reasons.contains(&Reason::LosingEvents));
    assert_eq!(posthog.discard_dead_letters(), 5);
    let ledger = posthog.stats();
    assert_eq!((ledger.dead_lettered, ledger.dropped.count(DropReason::DeadLetterDiscarded)), (0, 5));
    assert_balanced(ledger);
    assert!(posthog.dead_letters().is_empty());
}

#[tokio::test]
async fn the_token_is_not_in_a_dead_letter_even_if_the_server_repeats_it() {
    let server = FakePostHog::start();
    let reply = Reply::status(400).body(format!("bad key {}", FakePostHog::TOKEN));
    server.reply_to_events_named("poison", reply);
    let posthog = builder(&server).build().unwrap();
    reject(&posthog, Event::new("poison", "u")).await;
    assert_eq!(posthog.dead_letters()[0].answer.as_deref(), Some("bad key [token]"));
}

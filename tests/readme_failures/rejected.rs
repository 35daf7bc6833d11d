//! PostHog takes some events and others not.

use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{DropReason, ErrorKind, Event, PostHog};
use serde_json::json;

use crate::row::Row;
use crate::support::{MS, assert_balanced, capture, event, flush_lossy, large_event, until};
use crate::{by_default, client};

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) async fn one_bad_event(row: &Row) {
    let server = FakePostHog::start();
    server.reject_events_named(&["poison"]);
    let posthog = client(&server).linger(HOUR).build().unwrap();
    capture(&posthog, 63);
    posthog.capture(Event::new("poison", "user"));
    flush_lossy(&posthog).await;
    let ledger = posthog.stats();
    row.shows("the others arrive", (server.distinct(), ledger.delivered) == (63, 63));
    let few = server.request_count(Route::Batch) <= 2 * 6 + 2;
    row.shows(
        "it becomes a dead letter, found in 2·log₂(n)+3 requests at most",
        few && ledger.dead_lettered == 1,
    );
    row.shows_reasons(&posthog.health_check().await, &["rejected_events"]);
    row.shows_nothing_noticed(&posthog).await;
    assert_balanced(ledger);
}

pub(crate) async fn everything(row: &Row) {
    let server = FakePostHog::start();
    server.reject_events_named(&["poison"]);
    let parked = client(&server).linger(HOUR).refusal_pause(HOUR).flush_timeout(MS(50)).build().unwrap();
    (0..100).for_each(|_| parked.capture(Event::new("poison", "user")));
    server.wait_for_requests(Route::Batch, 16).await;
    let still_here = parked.flush().await.is_err();
    row.shows("parked after 16 requests", still_here && server.request_count(Route::Batch) == 16);
    row.shows_reasons(&parked.health(), &["rejected_events"]);
    capture(&parked, 100);
    // Batches are small by now, so the rest of a full one would linger.
    let _ = parked.flush().await;
    until(|| server.distinct() == 100).await;
    row.shows("all else goes on", true);
    row.shows_nothing_noticed(&parked).await;
    assert_balanced(parked.stats());

    let before = server.request_count(Route::Batch);
    let mended = client(&server).linger(HOUR).build().unwrap();
    (0..100).for_each(|_| mended.capture(Event::new("poison", "user")));
    server.wait_for_requests(Route::Batch, before + 16).await;
    server.reject_events_named(&[]);
    until(|| mended.stats().queued == 0).await;
    row.shows("tried again after a minute", by_default("refusal_pause", "1 min"));
}

pub(crate) async fn too_large(row: &Row) {
    let server = FakePostHog::start();
    server.limit_body(20_000);
    let posthog = client(&server).gzip(false).in_flight(1).build().unwrap();
    capture(&posthog, 200);
    posthog.flush().await.unwrap();
    row.shows("sent again in smaller batches", server.distinct() == 200);

    let server = FakePostHog::start();
    server.limit_body(1_000_000);
    let posthog = client(&server).gzip(false).event_bytes(10_000_000).build().unwrap();
    posthog.capture(large_event(0, 8_000_000));
    until(|| posthog.health().last_error.is_some()).await;
    capture(&posthog, 50);
    flush_lossy(&posthog).await;
    let letters = posthog.dead_letters();
    let alone = letters.len() == 1 && letters[0].kind == ErrorKind::TooLarge && server.distinct() == 50;
    row.shows("one that is too large alone becomes a dead letter", alone);
    row.shows_reasons(&posthog.health(), &["rejected_events"]);
    row.shows_nothing_noticed(&posthog).await;
    assert_balanced(posthog.stats());
}

pub(crate) async fn at_the_door(row: &Row) {
    let server = FakePostHog::start();
    server.batch().always(Reply::normal());
    let posthog = client(&server).build().unwrap();
    let mut deep = event(0);
    deep.insert_prop("deep", (0..200).fold(json!(0), |inner, _| json!([inner]))).unwrap();
    [Event::new("", "user"), Event::new("event", " "), deep].into_iter().for_each(|bad| posthog.capture(bad));
    capture(&posthog, 20);
    flush_lossy(&posthog).await;
    let dropped = posthog.stats().dropped;
    let each_once = [DropReason::NoName, DropReason::NoDistinctId, DropReason::TooDeep]
        .into_iter()
        .all(|reason| dropped.count(reason) == 1);
    row.shows("dropped, counted as `no_name`, `no_distinct_id` or `too_deep`", each_once);
    row.shows("the others arrive", server.distinct() == 20);
    assert_told(row, &posthog).await;
}

pub(crate) async fn hook_panics(row: &Row) {
    let server = FakePostHog::start();
    let hook = |event: Event| match event.event_name() {
        "unexpected" => panic!("a bug in a hook"),
        _ => Some(event),
    };
    let posthog = client(&server).before_send(hook).build().unwrap();
    posthog.capture(Event::new("unexpected", "user"));
    capture(&posthog, 20);
    flush_lossy(&posthog).await;
    let dropped = posthog.stats().dropped;
    row.shows(
        "the one that it panicked on is dropped, counted as `hook_panicked`",
        (dropped.total(), dropped.count(DropReason::HookPanicked)) == (1, 1),
    );
    row.shows("the others arrive", server.distinct() == 20);
    assert_told(row, &posthog).await;
}

async fn assert_told(row: &Row, posthog: &PostHog) {
    row.shows_reasons(&posthog.health_check().await, &["losing_events"]);
    row.shows_nothing_noticed(posthog).await;
    row.shows_alerts(posthog, &["Losing Events"]).await;
    assert_balanced(posthog.stats());
}

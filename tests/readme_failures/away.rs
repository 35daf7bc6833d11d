//! PostHog does not answer as it should.

use std::time::Duration;

use posthog_health::layers::CircuitState;
use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{FlagOptions, FlagSource, PostHog, PostHogBuilder};

use crate::row::Row;
use crate::support::{self, MS, assert_balanced, capture, until};
use crate::{by_default, client};

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) async fn answers_with_errors(row: &Row) {
    for status in [500, 502, 503, 504, 408] {
        let server = FakePostHog::start();
        server.always(Reply::status(status));
        assert_outage(row, client(&server), "server_error").await;
        server.recover();
        assert_recovery(row, &server).await;
    }
    let server = FakePostHog::start();
    server.batch().then(Reply::status(503).retry_after("1"));
    let posthog = client(&server).build().unwrap();
    capture(&posthog, 10);
    posthog.flush().await.unwrap();
    let sent: Vec<_> = server.requests().iter().map(|request| request.at).collect();
    row.shows("never before a `Retry-After`", sent[1] - sent[0] >= Duration::from_secs(1));
}

pub(crate) async fn does_not_answer(row: &Row) {
    for reply in [Reply::hang(), Reply::reset(), Reply::close(), Reply::truncated_body()] {
        let server = FakePostHog::start();
        server.always(reply);
        assert_outage(row, client(&server).request_timeout(MS(200)), "unreachable").await;
    }
    let server = FakePostHog::start();
    let no_such_name = client(&server).host("http://posthog.invalid").allow_insecure_http(true);
    assert_outage(row, no_such_name, "unreachable").await;
    let no_tls_there = client(&server).host(server.url().replace("http://", "https://"));
    assert_outage(row, no_tls_there, "unreachable").await;
    server.refuse();
    assert_outage(row, client(&server), "unreachable").await;
    server.accept();
    assert_recovery(row, &server).await;
}

/// Until the breaker is open, and then it stays so.
async fn assert_outage(row: &Row, client: PostHogBuilder, reason: &str) {
    let breaker = support::breaker().open_time(HOUR, HOUR);
    let posthog = client.circuit_breaker(breaker).build().unwrap();
    capture(&posthog, 20);
    until(|| posthog.circuit_breaker().unwrap().state() == CircuitState::Open).await;
    row.shows("wait", posthog.stats().queued == 20);
    assert_balanced(posthog.stats());
    row.shows_nothing_noticed(&posthog).await;
    row.shows_reasons(&posthog.health_check().await, &[reason, "breaker_open"]);
    row.shows_alerts(&posthog, &["API Down", "Circuit Open"]).await;
}

async fn assert_recovery(row: &Row, server: &FakePostHog) {
    row.shows("tried again after 1 s, doubling to 10 s", by_default("open_time", "1 s, 10 s"));
    server.refuse();
    let posthog = client(server).build().unwrap();
    capture(&posthog, 20);
    until(|| posthog.circuit_breaker().unwrap().state() == CircuitState::Open).await;
    server.accept();
    posthog.flush().await.unwrap();
    row.shows("delivered once PostHog is back", (posthog.stats().delivered, server.distinct()) == (20, 20));
}

pub(crate) async fn asks_for_less(row: &Row) {
    let server = FakePostHog::start();
    server.always(Reply::status(429));
    let posthog = client(&server).build().unwrap();
    capture(&posthog, 20);
    server.wait_for_requests(Route::Batch, 2).await;
    row.shows("wait", posthog.stats().queued == 20);
    row.shows_nothing_noticed(&posthog).await;
    row.shows_reasons(&posthog.health_check().await, &["rate_limited"]);
    row.shows_alerts(&posthog, &["Rate Limited"]).await;
    server.recover();
    posthog.flush().await.unwrap();
    row.shows("delivered afterwards", server.distinct() == 20);

    let before = server.request_count(Route::Batch);
    server.batch().then(Reply::status(429).retry_after("1"));
    capture(&posthog, 10);
    posthog.flush().await.unwrap();
    let batches = server.requests().into_iter().filter(|request| request.route == Route::Batch);
    let sent: Vec<_> = batches.skip(before).map(|request| request.at).collect();
    let is_paused = sent[1] - sent[0] >= Duration::from_secs(1);
    row.shows(
        "paused for its `Retry-After`, else 1 s doubling to 30 s",
        is_paused && by_default("pause", "1 s, 30 s"),
    );
}

pub(crate) async fn flags(row: &Row) {
    const WAIT: &str = "a call of `flags` waits 1 s, and once flags have failed a few times not at all";
    let server = FakePostHog::start();
    server.set_flag("button", "blue");
    let posthog = client(&server).build().unwrap();
    let asked = async |posthog: &PostHog, person: &str| posthog.flags(person, FlagOptions::default()).await;
    asked(&posthog, "known").await;
    server.flags().always(Reply::hang());
    let mut calls = 0;
    while !posthog.alerts().iter().any(|alert| alert.name.code() == "circuit_open") {
        asked(&posthog, "unknown").await;
        calls += 1;
        assert!(calls < 10_000, "each call that waits for 1 s is a failure to the breaker");
    }
    // The one in the background takes its second; nobody waits for it.
    let before = server.request_count(Route::Flags);
    for _ in 0..100 {
        asked(&posthog, "unknown").await;
    }
    row.shows(WAIT, server.request_count(Route::Flags) - before <= 1 && by_default("timeout", "1 s"));
    let (known, unknown) = (asked(&posthog, "known").await, asked(&posthog, "unknown").await);
    let is_known = matches!(known.source("button"), FlagSource::LastKnownGood { .. });
    row.shows(
        "it gets the last known value, or your default",
        is_known && known.variant("button", "red") == "blue" && unknown.variant("button", "red") == "red",
    );
    row.shows_alerts(&posthog, &["API Down", "Circuit Open"]).await;
    posthog.flush().await.unwrap();
    let ledger = posthog.stats();
    row.shows("go on", ledger.captured > 0 && ledger.delivered == ledger.captured);
}

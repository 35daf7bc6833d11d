//! PostHog, or what stands in its place, wants nothing of us before somebody has changed something.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{AlertName, CredentialSource, DropReason, PostHog};

use crate::row::Row;
use crate::support::{MS, assert_balanced, capture, until};
use crate::{by_default, client};

const NEW: &str = "phc_newNewNewNewNewNewNewNewNewNewNewNewNewNewNewN";
const AGAIN: &str = "tried again after 1 s, doubling to 1 min";

pub(crate) async fn token(row: &Row) {
    assert_kept(row, Reply::status(401), "unauthorized", "Auth Failures").await;
    row.shows(&format!("else {AGAIN}"), by_default("refusal_pause", "1 min"));

    let server = FakePostHog::start();
    let calls = AtomicUsize::new(0);
    let vault = CredentialSource::provider(move || {
        let token = if calls.fetch_add(1, Ordering::SeqCst) == 0 { FakePostHog::TOKEN } else { NEW };
        std::future::ready(Ok::<_, std::io::Error>(token.to_owned()))
    });
    let posthog = client(&server).refusal_pause(MS(3_600_000)).credentials(vault).build().unwrap();
    server.revoke_token(FakePostHog::TOKEN);
    server.know_token(NEW);
    capture(&posthog, 20);
    posthog.flush().await.unwrap();
    row.shows("sent at once with a new token from the file, variable or provider", server.distinct() == 20);
}

pub(crate) async fn unknown_token(row: &Row) {
    let server = FakePostHog::start();
    server.forget_token(FakePostHog::TOKEN);
    let posthog = client(&server).refusal_pause(MS(3_600_000)).build().unwrap();
    capture(&posthog, 10);
    posthog.flush().await.unwrap();
    row.shows(
        "at first taken with a 200 and thrown away by PostHog, counted as delivered: capture cannot tell",
        posthog.stats().delivered == 10 && posthog.health().is_healthy(),
    );
    row.shows_reasons(&posthog.health_check().await, &["unauthorized"]);
    row.shows_nothing_noticed(&posthog).await;
    let before = server.request_count(Route::Batch);
    capture(&posthog, 10);
    row.shows_alerts(&posthog, &["Auth Failures"]).await;
    let is_kept = server.request_count(Route::Batch) == before && posthog.stats().queued == 10;
    row.shows("wait from the first `health_check` that finds out", is_kept);
}

pub(crate) async fn new_token(row: &Row) {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    let file = directory.path().join("token");
    std::fs::write(&file, FakePostHog::TOKEN).unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let vault = CredentialSource::provider({
        let fails = Arc::clone(&fails);
        move || {
            let given = if fails.load(Ordering::SeqCst) { Err("no vault") } else { Ok(FakePostHog::TOKEN) };
            std::future::ready(given.map(str::to_owned))
        }
    });
    let mounted = client(&server).credentials(CredentialSource::file(&file)).build().unwrap();
    let asked = client(&server).credentials(vault).build().unwrap();
    capture(&asked, 1);
    asked.flush().await.unwrap();

    fails.store(true, Ordering::SeqCst);
    assert_goes_on(row, &server, &asked).await;
    std::fs::write(&file, "phx_secret").unwrap();
    assert_goes_on(row, &server, &mounted).await;
    std::fs::remove_file(&file).unwrap();
    assert_goes_on(row, &server, &mounted).await;
}

async fn assert_goes_on(row: &Row, server: &FakePostHog, posthog: &PostHog) {
    row.shows("`reload_credentials` gets an error", posthog.reload_credentials().await.is_err());
    row.shows_nothing_noticed(posthog).await;
    let before = server.distinct();
    capture(posthog, 20);
    posthog.flush().await.unwrap();
    let goes_on = server.distinct() == before + 20 && posthog.health_check().await.is_healthy();
    row.shows("go on with the token in use", goes_on);
}

pub(crate) async fn no_token_yet(row: &Row) {
    let server = FakePostHog::start();
    let has_one = Arc::new(AtomicBool::new(false));
    let vault = CredentialSource::provider({
        let has_one = Arc::clone(&has_one);
        move || {
            let given = if has_one.load(Ordering::SeqCst) { Ok(FakePostHog::TOKEN) } else { Err("no vault") };
            std::future::ready(given.map(str::to_owned))
        }
    });
    let posthog = client(&server).credentials(vault).build().unwrap();
    capture(&posthog, 20);
    row.shows_alerts(&posthog, &["Auth Failures"]).await;
    row.shows_reasons(&posthog.health_check().await, &["unauthorized"]);
    row.shows_nothing_noticed(&posthog).await;
    let is_kept = posthog.stats().queued == 20 && server.request_count(Route::Batch) == 0;
    has_one.store(true, Ordering::SeqCst);
    posthog.flush().await.unwrap();
    row.shows("wait until there is one", is_kept && server.distinct() == 20);
    row.shows("it is asked again after 1 s, doubling to 1 min", by_default("refusal_pause", "1 min"));
}

pub(crate) async fn wrong_host(row: &Row) {
    let elsewhere = Reply::redirect("https://elsewhere.example/");
    for reply in [elsewhere, Reply::status(404), Reply::html(), Reply::status(418), Reply::status(403)] {
        assert_kept(row, reply, "wrong_host", "API Down").await;
    }
    row.shows(AGAIN, by_default("refusal_pause", "1 min"));
}

pub(crate) async fn over_quota(row: &Row) {
    assert_kept(row, Reply::status(402), "quota_exceeded", "Quota Exceeded").await;
    row.shows(AGAIN, by_default("refusal_pause", "1 min"));
}

/// What waits is delivered when the answer is another.
async fn assert_kept(row: &Row, reply: Reply, reason: &str, alert: &str) {
    let server = FakePostHog::start();
    server.always(reply);
    let posthog = client(&server).build().unwrap();
    capture(&posthog, 20);
    server.wait_for_requests(Route::Batch, 2).await;
    row.shows_alerts(&posthog, &[alert]).await;
    row.shows_reasons(&posthog.health_check().await, &[reason]);
    row.shows_nothing_noticed(&posthog).await;
    let is_kept = posthog.stats().queued == 20;
    server.recover();
    posthog.flush().await.unwrap();
    row.shows("wait", is_kept && server.distinct() == 20);
    assert_balanced(posthog.stats());
}

pub(crate) async fn over_quota_with_a_200(row: &Row) {
    let server = FakePostHog::start();
    server.limit_quota(true);
    let posthog = client(&server).refusal_pause(MS(3_600_000)).flush_timeout(MS(50)).build().unwrap();
    capture(&posthog, 10);
    until(|| posthog.stats().dropped.count(DropReason::OverQuota) == 10).await;
    row.shows("thrown away by PostHog, counted as `over_quota`", server.accepted() == 0);
    capture(&posthog, 10);
    let is_kept = posthog.flush().await.is_err() && posthog.stats().queued == 10;
    row.shows("the next wait for 1 s, doubling to 1 min", is_kept && by_default("refusal_pause", "1 min"));
    row.shows_reasons(&posthog.health(), &["quota_exceeded", "losing_events"]);
    row.shows_nothing_noticed(&posthog).await;
    let names = [AlertName::QuotaExceeded, AlertName::LosingEvents].map(|name| name.to_string());
    row.shows_alerts(&posthog, &names.each_ref().map(String::as_str)).await;
}

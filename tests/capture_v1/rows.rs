//! The table of `docs/capture.md`, walked row by row.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use posthog_health::testing::{FakePostHog, Host, Reply, Route, Verdict};
use posthog_health::{CaptureProtocol, DropReason, Event};
use tracing::Level;

use super::log::Log;
use super::row::Row;
use super::support::{assert_balanced, capture, event, until};
use super::{auto, names, requests, v1};

type Scenario = for<'a> fn(&'a Row) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// In the order of the table.
const SCENARIOS: [(&str, Scenario); 15] = [
    ("`drop` for one of a hundred", |row| Box::pin(one_drop(row))),
    ("`drop` for a quota", |row| Box::pin(drop_for_a_quota(row))),
    ("`drop` for the billing quota, all of a batch", |row| Box::pin(billing_drops(row))),
    ("`retry` for some", |row| Box::pin(some_retries(row))),
    ("`retry` for all of a batch", |row| Box::pin(all_retries(row))),
    ("`person_processing_disabled`", |row| Box::pin(no_person(row))),
    ("an unknown verdict", |row| Box::pin(unknown_verdict(row))),
    ("no verdict for an event", |row| Box::pin(no_verdict(row))),
    ("401, and the probe agrees", |row| Box::pin(refused_token(row))),
    ("402, or 429 for the billing limit", |row| Box::pin(billing_limit(row))),
    ("429", |row| Box::pin(asks_for_less(row))),
    ("404 or 405: no V1 there", |row| Box::pin(no_v1(row))),
    ("a page of HTML, or a 200 without verdicts", |row| Box::pin(another_answer(row))),
    ("a proxy strips `Authorization` or `PostHog-*`", |row| Box::pin(stripped(row))),
    ("`drop` for every event of twenty batches", |row| Box::pin(drops_all(row))),
];

#[test]
fn each_row_is_as_it_says() {
    let rows = table();
    let failures: Vec<_> = rows.iter().map(|row| row.failure.as_str()).collect();
    assert_eq!(failures, SCENARIOS.map(|(failure, _)| failure), "a scenario for each row, and no other");
    let walks =
        rows.into_iter().zip(SCENARIOS).map(|(row, (failure, scenario))| (failure, walk(&row, scenario)));
    let wrong: Vec<_> = walks.filter(|(_, problems)| !problems.is_empty()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn table() -> Vec<Row> {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/capture.md")).unwrap();
    let (_, section) = page.split_once("\n## When V1 does not say ok\n").unwrap();
    section.lines().filter(|line| line.starts_with('|')).skip(2).map(Row::read).collect()
}

/// What is wrong with a row.
fn walk(row: &Row, scenario: Scenario) -> Vec<String> {
    let (log, _guard) = Log::start(Level::INFO);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let walked = catch_unwind(AssertUnwindSafe(|| runtime.block_on(scenario(row))));
    drop(runtime);
    match walked {
        Ok(()) => row.open_after(&log.text()),
        Err(_) => vec!["its scenario failed, see above".to_owned()],
    }
}

async fn one_drop(row: &Row) {
    let server = FakePostHog::start();
    let reply = Reply::normal().verdict("bad", Verdict::new("drop").details("event_too_big"));
    server.capture_v1().always(reply);
    let posthog = v1(&server).build().unwrap();
    capture(&posthog, 99);
    posthog.capture(Event::new("bad", "user"));
    until(|| posthog.stats().delivered == 99).await;
    row.shows("the others are delivered", server.distinct() == 99);
    row.shows("all in one request", server.request_count(Route::CaptureV1) == 1);
    let letters = posthog.dead_letters();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    let told = (letter.status, letter.answer.as_deref());
    row.shows("it becomes a dead letter with the detail", told == (Some(200), Some("event_too_big")));
    row.shows_reasons(&posthog.health(), &["rejected_events"]);
    assert_balanced(posthog.stats());
}

async fn drop_for_a_quota(row: &Row) {
    let server = FakePostHog::start();
    let reply = Reply::normal().verdict("$exception", Verdict::new("drop").details("exceptions_over_quota"));
    server.capture_v1().always(reply);
    let posthog = v1(&server).build().unwrap();
    capture(&posthog, 9);
    posthog.capture(Event::new("$exception", "user"));
    until(|| posthog.stats().delivered == 9).await;
    row.shows("the others are delivered", server.distinct() == 9);
    row.shows("it is dropped as `over_quota`", posthog.stats().dropped.count(DropReason::OverQuota) == 1);
    row.shows_reasons(&posthog.health(), &["losing_events"]);
    assert_balanced(posthog.stats());
}

async fn billing_drops(row: &Row) {
    let server = FakePostHog::start();
    let quota = Verdict::new("drop").details("billing_limit_exceeded");
    server.capture_v1().always(Reply::normal().verdict(.., quota));
    let posthog = v1(&server).refusal_pause(Duration::from_secs(3600)).build().unwrap();
    capture(&posthog, 10);
    until(|| posthog.stats().dropped.total() == 10).await;
    row.shows("dropped as `over_quota`", posthog.stats().dropped.count(DropReason::OverQuota) == 10);
    capture(&posthog, 1);
    assert_eq!(posthog.stats().queued, 1);
    row.shows("delivery slows down", server.request_count(Route::CaptureV1) == 1);
    let report = posthog.health();
    row.shows("`quota_exceeded`", report.reasons.iter().any(|reason| reason.code() == "quota_exceeded"));
    assert_balanced(posthog.stats());
}

async fn some_retries(row: &Row) {
    let server = FakePostHog::start();
    let again = Verdict::new("retry").details("not_persisted");
    server.capture_v1().then(Reply::normal().verdict(3..5, again).retry_after("2"));
    let posthog = v1(&server).build().unwrap();
    capture(&posthog, 10);
    until(|| posthog.stats().delivered == 10).await;
    let sent = requests(&server, Route::CaptureV1);
    let [first, second] = &sent[..] else { panic!("{} requests", sent.len()) };
    let has_waited = second.at - first.at >= Duration::from_secs(2);
    let (all, rest) = (first.json(), second.json());
    assert_eq!(
        (&rest["batch"][0]["uuid"], &rest["batch"][1]["uuid"]),
        (&all["batch"][3]["uuid"], &all["batch"][4]["uuid"])
    );
    row.shows("they alone are sent again, after `Retry-After`", has_waited && names(second).len() == 2);
    row.shows_nothing_noticed(&posthog).await;
    row.shows_reasons(&posthog.health(), &[]);
    assert_eq!(first.header("posthog-request-id"), second.header("posthog-request-id"));
    assert_eq!(all["created_at"], rest["created_at"]);
    assert_eq!(second.header("posthog-attempt"), Some("2"));
}

async fn all_retries(row: &Row) {
    let server = FakePostHog::start();
    server.capture_v1().then(Reply::normal().verdict(.., Verdict::new("retry")).retry_after("1"));
    let posthog = v1(&server).build().unwrap();
    capture(&posthog, 10);
    until(|| posthog.health().last_error.is_some()).await;
    row.shows_reasons(&posthog.health(), &["server_error"]);
    until(|| posthog.stats().delivered == 10).await;
    let sent = requests(&server, Route::CaptureV1);
    let [first, second] = &sent[..] else { panic!("{} requests", sent.len()) };
    let is_same = first.header("posthog-request-id") == second.header("posthog-request-id")
        && first.json() == second.json()
        && second.header("posthog-attempt") == Some("2");
    let has_waited = second.at - first.at >= Duration::from_secs(1);
    row.shows("the batch is sent again as it was, after `Retry-After`", is_same && has_waited);
}

async fn no_person(row: &Row) {
    let server = FakePostHog::start();
    let posthog = v1(&server).build().unwrap();
    posthog.capture(Event::new("seen", "anonymous"));
    until(|| posthog.stats().delivered == 1).await;
    row.shows("delivered", server.distinct() == 1);
    row.shows_reasons(&posthog.health(), &["person_processing_disabled"]);
}

async fn unknown_verdict(row: &Row) {
    let server = FakePostHog::start();
    server.capture_v1().always(Reply::normal().verdict(.., Verdict::new("limited")));
    let posthog = v1(&server).build().unwrap();
    capture(&posthog, 3);
    until(|| posthog.stats().delivered == 3).await;
    row.shows("delivered", server.request_count(Route::CaptureV1) == 1);
    row.shows_reasons(&posthog.health(), &[]);
}

async fn no_verdict(row: &Row) {
    let server = FakePostHog::start();
    server.capture_v1().always(Reply::normal().verdict("unseen", Verdict::missing()));
    let posthog = v1(&server).build().unwrap();
    capture(&posthog, 2);
    posthog.capture(Event::new("unseen", "user"));
    capture(&posthog, 1);
    until(|| posthog.stats().delivered == 4).await;
    let sent: Vec<_> = requests(&server, Route::CaptureV1).iter().map(names).collect();
    row.shows("that one is sent again once", sent.len() == 2 && sent[1] == ["unseen"]);
    row.shows("then it is delivered", server.accepted() == 5 && server.distinct() == 4);
}

async fn refused_token(row: &Row) {
    let server = FakePostHog::start();
    server.revoke_token(FakePostHog::TOKEN);
    let posthog = v1(&server).build().unwrap();
    capture(&posthog, 3);
    until(|| posthog.health().last_error.is_some()).await;
    row.shows_reasons(&posthog.health(), &["unauthorized"]);
    row.shows("kept", posthog.stats().queued == 3 && server.request_count(Route::Batch) == 0);
}

async fn billing_limit(row: &Row) {
    for status in [402, 429] {
        let server = FakePostHog::start();
        server.capture_v1().always(Reply::error(status, "billing_limit_exceeded"));
        let posthog = v1(&server).build().unwrap();
        capture(&posthog, 3);
        until(|| posthog.health().last_error.is_some()).await;
        row.shows_reasons(&posthog.health(), &["quota_exceeded"]);
        row.shows("kept", posthog.stats().queued == 3);
    }
}

async fn asks_for_less(row: &Row) {
    let server = FakePostHog::start();
    server.capture_v1().then(Reply::status(429).retry_after("1"));
    let posthog = v1(&server).build().unwrap();
    capture(&posthog, 3);
    until(|| posthog.health().last_error.is_some()).await;
    row.shows_reasons(&posthog.health(), &["rate_limited"]);
    until(|| posthog.stats().delivered == 3).await;
    let sent = requests(&server, Route::CaptureV1);
    row.shows("kept, sent after `Retry-After`", sent[1].at - sent[0].at >= Duration::from_secs(1));
}

async fn no_v1(row: &Row) {
    for status in [404, 405] {
        falls_back(row, |server| server.set_host(Host::WithoutV1(status)), "unsupported").await;
    }
}

async fn another_answer(row: &Row) {
    for status in [404, 403, 200] {
        falls_back(row, |server| server.set_host(Host::PassesOldPaths(status)), "unsupported").await;
    }
    let status_ok = |server: &FakePostHog| {
        server.capture_v1().always(Reply::status(200).body(r#"{"status":"Ok"}"#));
    };
    falls_back(row, status_ok, "unsupported").await;
}

async fn stripped(row: &Row) {
    for host in [Host::StripsAuthorization, Host::StripsPostHogHeaders] {
        falls_back(row, |server| server.set_host(host), "headers_stripped").await;
    }
}

/// `Auto` sends by V0 what V1 does not take, and `V1` keeps it.
async fn falls_back(row: &Row, spoil: impl Fn(&FakePostHog), reason: &str) {
    let server = FakePostHog::start();
    let posthog = auto(&server).build().unwrap();
    capture(&posthog, 1);
    until(|| posthog.stats().delivered == 1).await;
    let capture_health = posthog.health().capture.unwrap();
    assert_eq!((capture_health.protocol, capture_health.reason.as_str()), (CaptureProtocol::V1, "works"));
    spoil(&server);
    capture(&posthog, 30);
    until(|| posthog.stats().delivered == 31).await;
    let (v1_requests, v0_requests) =
        (server.request_count(Route::CaptureV1), server.request_count(Route::Batch));
    row.shows(
        "in `Auto` sent by V0 at once",
        (v1_requests, v0_requests) == (2, 1) && server.accepted() == 31,
    );
    row.shows_reasons(&posthog.health(), &[]);
    let capture_health = posthog.health().capture.unwrap();
    assert_eq!((capture_health.protocol, capture_health.reason.as_str()), (CaptureProtocol::V0, reason));

    let server = FakePostHog::start();
    spoil(&server);
    let posthog = v1(&server).build().unwrap();
    capture(&posthog, 3);
    until(|| posthog.health().last_error.is_some()).await;
    row.shows("in `V1` kept", posthog.stats().queued == 3 && server.request_count(Route::Batch) == 0);
    let codes: Vec<_> = posthog.health().reasons.iter().map(|reason| reason.code()).collect();
    row.shows("in `V1` `wrong_host`", codes == ["wrong_host"]);
}

async fn drops_all(row: &Row) {
    let all_dropped = Reply::normal().verdict(.., Verdict::new("drop").details("rejected"));
    let server = FakePostHog::start();
    let posthog = auto(&server).batch_events(1).in_flight(1).build().unwrap();
    posthog.capture(event(0));
    until(|| posthog.stats().delivered == 1).await;
    server.capture_v1().always(all_dropped.clone());
    capture(&posthog, 30);
    until(|| posthog.stats().delivered == 12).await;
    let is_v0 = posthog.stats().dead_lettered == 19 && server.request_count(Route::Batch) == 11;
    row.shows("in `Auto` sent by V0 from then on", is_v0);
    assert_eq!(posthog.health().capture.unwrap().reason.as_str(), "drops_all");

    let server = FakePostHog::start();
    server.capture_v1().always(all_dropped);
    let posthog = v1(&server).batch_events(1).in_flight(1).build().unwrap();
    capture(&posthog, 30);
    until(|| posthog.health().last_error.is_some()).await;
    let is_kept = posthog.stats().dead_lettered == 19 && posthog.stats().queued == 11;
    row.shows("in `V1` kept from then on, as if V0 had rejected them", is_kept);
    let codes: Vec<_> = posthog.health().reasons.iter().map(|reason| reason.code()).collect();
    row.shows("in `V1` `rejected_events`", codes == ["rejected_events"]);
}

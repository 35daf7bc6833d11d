//! What the library says, and what it never says.

#[path = "support/log.rs"]
mod log;
#[path = "support/client.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use log::{Log, install};
use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{AlertName, AlertsConfig, Event, PostHog, Severity, TypedEvent};
use support::{MS, builder, capture, flush_lossy, reject, until};
use tracing::span::{Attributes, Id};
use tracing::{Event as Line, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// All lines but those of the alerts, which come when the monitor looks.
fn lines(log: &Log) -> Vec<String> {
    log.text().lines().filter(|line| !line.contains(" alert ")).map(str::to_owned).collect()
}

/// Guarantee 7: every failure, at the most talkative level.
#[tokio::test]
async fn no_secret_and_no_event_content_is_ever_shown() {
    let (log, _guard) = Log::start(Level::TRACE);
    let server = FakePostHog::start();
    let mut shown = String::new();
    for fault in [
        Reply::normal(),
        Reply::status(401).body(FakePostHog::TOKEN),
        Reply::status(400).body("bad event: s3cret-property"),
        Reply::redirect(format!("https://elsewhere.example/?token={}", FakePostHog::TOKEN)),
        Reply::status(503),
        Reply::reset(),
        Reply::html(),
    ] {
        server.always(fault);
        let configured = builder(&server).flush_timeout(MS(50));
        shown += &format!("{configured:?}");
        let posthog = configured.build().unwrap();
        let mut event = Event::new("s3cret-event", "s3cret-person");
        event.insert_prop("s3cret-key", "s3cret-property").unwrap();
        posthog.capture(event);
        let _ = posthog.flush().await;
        // The one exception: while PostHog rejects everything, the report quotes it. The token is never in it.
        let mut report = posthog.health_check().await;
        report.last_error.iter_mut().for_each(|error| error.answer = None);
        shown += &format!("{posthog:?} {report} {:?}", posthog.shutdown(MS(1)).await);
    }
    server.refuse();
    shown += &format!("{:?}", builder(&server).build().unwrap().health_check().await);
    for token in [format!("{} ", FakePostHog::TOKEN.repeat(2)), FakePostHog::TOKEN.replace("phc", "phx")] {
        shown += &PostHog::builder(token).build().unwrap_err().to_string();
    }
    let logged = log.text();
    assert!(logged.contains("posthog_health"), "something was logged: {logged}");
    assert_hide(&[&logged, &shown], &["s3cret", "compression=gzip", "v=2"]);
}

/// Neither the token nor one of these secrets is in the texts.
fn assert_hide(texts: &[&str], secrets: &[&str]) {
    for secret in [FakePostHog::TOKEN, &FakePostHog::TOKEN[4..]].iter().chain(secrets) {
        let line = texts.iter().flat_map(|text| text.lines()).find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}

/// PostHog tells of it on a page of the project only. No subscriber runs on the caller's thread, as for every event.
#[tokio::test]
async fn an_alias_that_merges_nobody_is_news_once() {
    const NEWS: &str = "an alias has an id that PostHog refuses to merge";
    let (log, _guard) = Log::start(Level::INFO);
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    posthog.alias("anonymous-1", "user-1");
    posthog.flush().await.unwrap();
    assert!(!log.text().contains(NEWS));
    for _ in 0..10 {
        posthog.alias("anonymous-1", "undefined");
        posthog.alias("null", "user-1");
    }
    assert!(!log.text().contains(NEWS), "on the caller's thread");
    posthog.sdk().await.unwrap().alias("anonymous-1", "[object Object]");
    posthog.flush().await.unwrap();
    assert_eq!(log.text().matches(NEWS).count(), 1);
    assert_eq!((posthog.stats().delivered, server.distinct()), (22, 22), "it is PostHog that decides");
}

#[tokio::test]
async fn a_distinct_id_that_is_cut_is_news_once() {
    const NEWS: &str = "a distinct id is longer than the 200 bytes";
    let (log, _guard) = Log::start(Level::INFO);
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    posthog.capture(Event::new("e", &"x".repeat(200)));
    posthog.flush().await.unwrap();
    assert!(!log.text().contains(NEWS));
    let long = "y".repeat(201);
    for _ in 0..10 {
        posthog.capture(Event::new("e", &long));
        posthog.capture(TypedEvent::new("e", &long, &serde_json::json!({})).unwrap());
    }
    assert!(!log.text().contains(NEWS), "on the caller's thread");
    posthog.sdk().await.unwrap().capture(Event::new("e", &long));
    posthog.flush().await.unwrap();
    assert_eq!(log.text().matches(NEWS).count(), 1);
    assert!(!log.text().contains("yyyy"), "an id is nobody's business");
    assert_eq!(posthog.stats().delivered, 22);
    assert!(server.events()[1..].iter().all(|event| event["distinct_id"] == "y".repeat(200)));
    posthog.shutdown(MS(10_000)).await;
}

/// The same of the SDK, which has a secret key too, and lines of its own.
#[tokio::test]
async fn the_sdk_shows_neither_token_nor_secret_key() {
    let (log, _guard) = Log::start(Level::TRACE);
    let server = FakePostHog::start();
    let mut shown = String::new();
    for fault in [Reply::normal(), Reply::status(401).body(FakePostHog::TOKEN), Reply::reset(), Reply::html()]
    {
        server.always(fault);
        let hour = std::time::Duration::from_secs(3600);
        let configured = builder(&server).local_evaluation("phx_s3cretKey", hour).flush_timeout(MS(50));
        shown += &format!("{configured:?}");
        let posthog = configured.build().unwrap();
        let sdk = posthog.sdk().await.unwrap();
        let _ = sdk.evaluate_flags("user-1", Default::default()).await;
        posthog.set("s3cret-person", ["s3cret-property"]).unwrap_err();
        shown += &format!("{:?} {posthog:?}", posthog.flush().await);
        drop(sdk);
        posthog.shutdown(MS(1)).await;
    }
    let logged = log.text();
    assert!(logged.contains("posthog_rs"), "the SDK has logged: {logged}");
    assert_hide(&[&logged, &shown], &["s3cret"]);
}

/// One client in an outage that changes its face, with all lines of this crate.
#[tokio::test]
async fn an_outage_shows_what_fails_and_neither_token_nor_event_nor_url() {
    let (log, _guard) = Log::start(Level::TRACE);
    let server = FakePostHog::start();
    let has = async |what: &str| until(|| log.text().contains(what)).await;
    // API Down resolves a minute after its failures at the earliest, Circuit Open as soon as it is closed.
    let alerts = AlertsConfig::default().severity(AlertName::CircuitOpen, Severity::P1).resolve_after(MS(1));
    let posthog = builder(&server).alerts(alerts).request_timeout(MS(500)).build().unwrap();
    let capture = |name: &str| {
        let mut event = Event::new(name, "s3cret-person");
        event.insert_prop("s3cret-key", "s3cret-property").unwrap();
        posthog.capture(event);
    };
    let fired = "ERROR posthog{host=\"127.0.0.1\"}: posthog_health::alerts: alert firing: P1 Circuit Open";
    let resolved =
        "WARN posthog{host=\"127.0.0.1\"}: posthog_health::alerts: alert resolved: P1 Circuit Open";
    server.reject_events_named(&["s3cret-poison"]);
    for (fault, line) in [
        (Reply::status(503), "attempt to reach PostHog failed: the service is in trouble (HTTP 503)"),
        (Reply::status(503), fired),
        (
            Reply::status(401).body(FakePostHog::TOKEN),
            "attempt to reach PostHog failed: the token is not accepted",
        ),
        (Reply::status(429), "attempt to reach PostHog failed: too many requests (HTTP 429)"),
        (Reply::hang(), "attempt to reach PostHog failed: no answer in time"),
    ] {
        server.always(fault);
        capture("s3cret-event");
        has(line).await;
    }
    server.refuse();
    capture("s3cret-poison");
    has("attempt to reach PostHog failed: cannot connect").await;
    // Once: a probe that finds the token refused holds delivery up until the next one.
    posthog.health_check().await;
    server.recover();
    until(|| posthog.stats().delivered == 5 && posthog.stats().dead_lettered == 1).await;
    for line in [
        "attempt to reach PostHog failed: the request is rejected as malformed (HTTP 400)",
        "probe latency=",
        "error=cannot connect",
        resolved,
    ] {
        has(line).await;
    }
    posthog.shutdown(MS(5_000)).await;

    let (text, event) = (log.text(), &server.events()[0]);
    assert!(text.contains("shut down, not everything was delivered"), "{text}");
    let uuid = event["uuid"].as_str().unwrap();
    for line in text.lines().filter(|line| line.contains("posthog_health::")) {
        for secret in [&FakePostHog::TOKEN[4..], "s3cret", uuid, "://", "?", "&", "/batch", "/flags"] {
            assert!(!line.contains(secret), "{secret}: {line}");
        }
    }
}

#[tokio::test]
async fn an_outage_is_one_line_when_it_begins_and_one_when_it_ends() {
    let (log, _guard) = Log::start(Level::INFO);
    let server = FakePostHog::start();
    server.always(Reply::status(503));
    let posthog = builder(&server).queue_events(1_000).build().unwrap();
    capture(&posthog, 3_000);
    server.wait_for_requests(posthog_health::testing::Route::Batch, 30).await;
    server.recover();
    flush_lossy(&posthog).await;
    until(|| posthog.health().breaker.state == posthog_health::layers::CircuitState::Closed).await;
    let lines = lines(&log);
    let count = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!((count("circuit breaker open"), count("circuit breaker closed")), (1, 1), "{lines:#?}");
    assert_eq!(count("queue full: dropping events"), 1, "{lines:#?}");
    assert_eq!(lines.len(), 3, "{lines:#?}");
}

#[tokio::test]
async fn a_refused_token_is_one_line_until_it_works_again() {
    let (log, _guard) = Log::start(Level::INFO);
    let server = FakePostHog::start();
    server.always(Reply::status(401));
    let posthog = builder(&server).refusal_pause(MS(2)).build().unwrap();
    capture(&posthog, 300);
    server.wait_for_requests(posthog_health::testing::Route::Batch, 20).await;
    server.recover();
    posthog.flush().await.unwrap();
    let lines = lines(&log);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines[0].contains("WARN") && lines[0].contains("delivery to PostHog pauses, events are kept"),
        "{lines:#?}"
    );
    assert!(lines[1].contains("INFO") && lines[1].contains("delivery resumed"), "{lines:#?}");
}

#[tokio::test]
async fn rejected_events_are_one_line_while_none_is_taken_and_two_once_some_are() {
    let (log, _guard) = Log::start(Level::INFO);
    let server = FakePostHog::start();
    server.reject_events_named(&["poison"]);
    let posthog = builder(&server).build().unwrap();
    (0..1_000).for_each(|_| posthog.capture(posthog_health::Event::new("poison", "user")));
    server.wait_for_requests(posthog_health::testing::Route::Batch, 40).await;
    let parked = lines(&log);
    assert!(parked.len() == 1 && parked[0].contains("rejects event after event"), "{parked:#?}");

    while posthog.stats().dead_lettered < 20 {
        if posthog.stats().queued < 5_000 {
            capture(&posthog, 10);
        }
        tokio::task::yield_now().await;
    }
    let lines = lines(&log);
    let letters = "dead letters: the request is rejected as malformed (HTTP 400)";
    assert!(lines.len() <= 3 && lines.last().is_some_and(|line| line.contains(letters)), "{lines:#?}");
}

#[tokio::test]
async fn each_attempt_is_a_line_at_debug_also_those_of_the_search_for_a_bad_event() {
    let (log, _guard) = Log::start(Level::DEBUG);
    let server = FakePostHog::start();
    server.reject_events_named(&["poison"]);
    let posthog = builder(&server).linger(MS(5)).build().unwrap();
    capture(&posthog, 99);
    reject(&posthog, Event::new("poison", "user")).await;
    flush_lossy(&posthog).await;
    let is_attempt = |line: &&str| line.contains("attempt answered") || line.contains("attempt to reach");
    let attempts = log.text().lines().filter(is_attempt).count();
    assert_eq!(attempts, server.request_count(posthog_health::testing::Route::Batch));
}

#[tokio::test]
async fn what_a_dropped_client_loses_is_told() {
    let (log, _guard) = Log::start(Level::INFO);
    let server = FakePostHog::start();
    server.always(Reply::hang());
    let posthog = builder(&server).build().unwrap();
    capture(&posthog, 42);
    drop(posthog);
    let lines = lines(&log);
    assert!(lines.len() == 1 && lines[0].contains("lost=42"), "{lines:#?}");
}

/// One line when the spool begins to fail, one when it works again, however often it was tried in between.
#[cfg(feature = "spool")]
#[tokio::test]
async fn a_spool_that_fails_is_logged_once() {
    let (log, _guard) = Log::start(Level::INFO);
    let (server, parent) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    let directory = parent.path().join("not yet/spool");
    std::fs::write(parent.path().join("not yet"), "").unwrap();
    let posthog = builder(&server).spool(posthog_health::SpoolConfig::at(&directory)).build().unwrap();
    let state = || posthog.health().spool.unwrap().state;
    until(|| state() == posthog_health::SpoolState::Failing).await;
    // More than one attempt.
    tokio::time::sleep(MS(4_500)).await;
    std::fs::remove_file(parent.path().join("not yet")).unwrap();
    let lines = || -> Vec<_> { lines(&log).into_iter().filter(|line| line.contains("spool")).collect() };
    until(|| lines().len() > 1 && state() == posthog_health::SpoolState::Ready).await;
    let lines = lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("WARN posthog{host=\"127.0.0.1\"}"), "{lines:?}");
    assert!(lines[0].contains("the spool fails, events stay in memory: "), "{lines:?}");
    assert!(lines[1].contains("the spool works again"), "{lines:?}");
    assert_eq!(posthog.health().spool.unwrap().issue, None);
}

/// The targets of all events and spans that this crate emits, at any level.
#[derive(Clone, Default)]
struct Targets(Arc<Mutex<BTreeSet<&'static str>>>);

impl Targets {
    fn note(&self, metadata: &'static Metadata<'static>) {
        // Other crates have targets of their own.
        if metadata.module_path().is_some_and(|path| path.split("::").next() == Some("posthog_health")) {
            self.0.lock().unwrap().insert(metadata.target());
        }
    }

    fn seen(&self) -> BTreeSet<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

impl<S: Subscriber> Layer<S> for Targets {
    fn on_event(&self, line: &Line<'_>, _: Context<'_, S>) {
        self.note(line.metadata());
    }

    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.note(span.metadata());
    }
}

/// A user's filter names targets, so an outage shows each that is documented and no other. Webhooks have their own test.
#[cfg(feature = "spool")]
#[tokio::test]
async fn an_outage_has_the_targets_that_are_documented_and_no_other() {
    use posthog_health::{CredentialSource, FlagOptions, SpoolConfig};

    let page = include_str!("../docs/logging.md");
    let (_, table) = page.split_once("\n| target | lines |\n|---|---|\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let documented: BTreeSet<_> = rows.map(|row| row.split('`').nth(1).unwrap()).collect();

    let targets = Targets::default();
    let _guard = install(tracing_subscriber::registry().with(targets.clone()));
    let (server, parent) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    std::fs::write(parent.path().join("not a directory"), "").unwrap();
    let directory = parent.path().join("not a directory/spool");
    // The first token comes with the second call.
    let calls = Arc::new(Mutex::new(0));
    let source = CredentialSource::provider(move || {
        *calls.lock().unwrap() += 1;
        let is_first = *calls.lock().unwrap() == 1;
        async move { if is_first { Err("no vault") } else { Ok(FakePostHog::TOKEN.to_owned()) } }
    });
    let configured = support::builder_of(source, &server);
    let posthog = configured.queue_events(1_000).spool(SpoolConfig::at(&directory)).build().unwrap();
    capture(&posthog, 2_000);
    until(|| !targets.seen().is_disjoint(&["posthog_health::credentials"].into())).await;
    server.reject_events_named(&["poison"]);
    for fault in [Reply::status(503), Reply::status(401), Reply::status(429), Reply::status(200)] {
        server.always(fault);
        capture(&posthog, 3);
        posthog.flags("user-1", FlagOptions::default()).await;
        posthog.health_check().await;
        tokio::time::sleep(MS(50)).await;
    }
    server.refuse();
    posthog.health_check().await;
    server.recover();
    // A full queue would drop it.
    until(|| posthog.stats().queued == 0).await;
    reject(&posthog, Event::new("poison", "user-1")).await;
    until(|| targets.seen().len() + 1 >= documented.len()).await;
    posthog.shutdown(MS(5_000)).await;

    let (seen, webhook) = (targets.seen(), BTreeSet::from(["posthog_health::webhook"]));
    assert_eq!(seen, &documented - &webhook);
}

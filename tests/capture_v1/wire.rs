//! What is on the wire.

use std::collections::HashSet;

use posthog_health::Event;
use posthog_health::testing::{FakePostHog, Reply, Route, Verdict};
use serde_json::json;

use super::support::{MS, capture, event, until};
use super::{names, requests, v1};

#[tokio::test]
async fn a_request_is_as_v1_wants_it() {
    let server = FakePostHog::start();
    let posthog = v1(&server).build().unwrap();
    let mut event = Event::new("signed up", "user-1");
    event.insert_prop("$session_id", "s").unwrap();
    event.insert_prop("$process_person_profile", "1").unwrap();
    event.insert_prop("plan", "pro").unwrap();
    posthog.capture(event);
    until(|| posthog.stats().delivered == 1).await;
    let sent = requests(&server, Route::CaptureV1);
    let [request] = &sent[..] else { panic!("{} requests", sent.len()) };
    let bearer = format!("Bearer {}", FakePostHog::TOKEN);
    let sdk = concat!("posthog-health/", env!("CARGO_PKG_VERSION"));
    for (header, value) in [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
        ("user-agent", sdk),
        ("posthog-sdk-info", sdk),
        ("posthog-attempt", "1"),
    ] {
        assert_eq!(request.header(header), Some(value), "{header}");
    }
    let body = request.json();
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["batch", "created_at"]);
    let event = &body["batch"][0];
    assert_eq!(event["session_id"], "s");
    assert_eq!(event["options"], json!({"process_person_profile": true}));
    assert_eq!(event["properties"]["plan"], "pro");
    assert!(event["properties"].get("$session_id").is_none());
}

/// Such an answer has over 64 KiB.
#[tokio::test]
async fn the_verdicts_of_a_thousand_events_are_read_to_the_end() {
    let server = FakePostHog::start();
    let warning = Verdict::new("warning").details("person_processing_disabled");
    server.capture_v1().always(Reply::normal().verdict(.., warning));
    let posthog = v1(&server).batch_events(1_000).build().unwrap();
    capture(&posthog, 1_000);
    until(|| posthog.stats().delivered == 1_000).await;
    assert_eq!((server.request_count(Route::CaptureV1), server.accepted()), (1, 1_000));
}

#[tokio::test]
async fn two_bad_and_ten_to_retry_among_a_thousand_cost_two_requests() {
    let server = FakePostHog::start();
    let dropped = Verdict::new("drop").details("missing_distinct_id");
    let again = Verdict::new("retry").details("not_persisted");
    let reply = Reply::normal().verdict(17, dropped.clone()).verdict(940, dropped).verdict(100..110, again);
    server.capture_v1().then(reply);
    let posthog = v1(&server).batch_events(1_000).build().unwrap();
    capture(&posthog, 1_000);
    until(|| posthog.stats().delivered == 998).await;
    let sent: Vec<_> = requests(&server, Route::CaptureV1).iter().map(|sent| names(sent).len()).collect();
    assert_eq!(sent, [1_000, 10]);
    assert_eq!((server.accepted(), posthog.stats().dead_lettered), (998, 2));
}

/// V1 refuses the whole batch otherwise.
#[tokio::test]
async fn a_uuid_never_stands_twice_in_a_batch() {
    let server = FakePostHog::start();
    let posthog = v1(&server).linger(MS(50)).build().unwrap();
    for n in 0..30 {
        let mut event = event(n);
        event.set_uuid(uuid::Uuid::from_u128(n as u128 % 10 + 1));
        posthog.capture(event);
    }
    until(|| posthog.stats().delivered == 30).await;
    assert_eq!((server.accepted(), server.distinct()), (30, 10));
    for request in requests(&server, Route::CaptureV1) {
        assert_eq!(request.status, Some(200));
        let body = request.json();
        let events = body["batch"].as_array().unwrap();
        let uuids: HashSet<_> = events.iter().map(|event| event["uuid"].as_str().unwrap()).collect();
        assert_eq!(uuids.len(), events.len());
    }
}

/// A batch that fails keeps its request id and its time, and what comes of its halves is new.
#[tokio::test]
async fn a_batch_keeps_its_identity_while_it_stays_the_same() {
    let server = FakePostHog::start();
    server.capture_v1().then(Reply::status(500));
    let posthog = v1(&server).build().unwrap();
    capture(&posthog, 5);
    until(|| posthog.stats().delivered == 5).await;
    capture(&posthog, 1);
    until(|| posthog.stats().delivered == 6).await;
    let sent = requests(&server, Route::CaptureV1);
    let [first, second, third] = &sent[..] else { panic!("{} requests", sent.len()) };
    let identity = |of: &posthog_health::testing::Request| {
        (of.header("posthog-request-id").unwrap().to_owned(), of.json()["created_at"].clone())
    };
    assert_eq!(identity(first), identity(second));
    assert_ne!(identity(first), identity(third));
    assert_eq!(second.header("posthog-attempt"), Some("2"));
    assert_eq!(third.header("posthog-attempt"), Some("1"));
    assert_ne!(first.header("posthog-request-timestamp"), second.header("posthog-request-timestamp"));
}

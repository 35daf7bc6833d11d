//! V1's verdicts: PostHog's own, and scripted ones.

use posthog_health::testing::{FakePostHog, Reply, Verdict};
use serde_json::{Value, json};

use super::{answer, batch, post, soon, v1_batch, v1_event, v1_post, v1_request, v1_uuid};

fn with(number: usize, member: &str, value: impl Into<Value>) -> Value {
    let mut event = v1_event(number);
    event[member] = value.into();
    event
}

#[tokio::test]
async fn each_event_has_a_verdict_of_its_own() {
    let posthog = FakePostHog::start();
    let drop = |details: &str| json!({"result": "drop", "details": details});
    let warning = json!({"result": "warning", "details": "person_processing_disabled"});
    let ok = json!({"result": "ok"});
    let cases = [
        (v1_event(0), ok.clone()),
        (with(1, "event", ""), drop("missing_event_name")),
        (with(2, "event", "n".repeat(201)), drop("event_name_too_long")),
        (with(3, "event", "n".repeat(200)), ok.clone()),
        (with(4, "event", "$performance_event"), drop("dropped_performance_event")),
        (with(5, "distinct_id", " "), drop("missing_distinct_id")),
        (with(6, "distinct_id", "é".repeat(101)), drop("distinct_id_too_large")),
        (with(7, "distinct_id", "é".repeat(100)), ok.clone()),
        (with(8, "distinct_id", " Anonymous "), warning.clone()),
        (with(9, "distinct_id", "0"), warning),
        (with(10, "timestamp", "yesterday"), drop("invalid_event_timestamp")),
        (with(11, "timestamp", "2026-11-29T12:00:00"), drop("invalid_event_timestamp")),
        (with(12, "timestamp", "2026-11-29T12:00:00+24:00"), drop("invalid_event_timestamp")),
        (with(13, "timestamp", "2026-11-29T12:00:00-11:30"), ok.clone()),
        (with(14, "properties", json!([])), drop("malformed_event_properties")),
        (with(15, "properties", Value::Null), drop("malformed_event_properties")),
        (with(16, "uuid", format!(" {} ", v1_uuid(16).to_uppercase())), ok),
    ];
    let events: Vec<_> = cases.iter().map(|(event, _)| event.clone()).collect();
    let (status, answer) = v1_post(&posthog, &events).await;

    assert_eq!(status, 200);
    for (number, (event, verdict)) in cases.iter().enumerate() {
        assert_eq!(answer["results"][v1_uuid(number)], *verdict, "{event}");
    }
    assert_eq!(answer["results"].as_object().unwrap().len(), cases.len());
    let stored: Vec<_> = posthog.events().iter().map(|event| event["uuid"].clone()).collect();
    assert_eq!(stored.len(), 7);
    assert_eq!(stored[1], v1_uuid(3));
    assert_eq!((posthog.accepted(), posthog.distinct()), (7, 7));
}

#[tokio::test]
async fn verdicts_can_be_scripted_by_name_uuid_and_position() {
    let posthog = FakePostHog::start();
    let mut events: Vec<_> = (0..8).map(v1_event).collect();
    events[7] = with(7, "event", "poison");
    let reply = Reply::normal()
        .verdict("poison", Verdict::new("drop").details("event_too_big"))
        .verdict(v1_uuid(1).as_str(), Verdict::new("limited"))
        .verdict(2, Verdict::missing())
        .verdict(3..5, Verdict::new("retry").details("not_persisted"))
        .verdict(4..6, Verdict::new("warning"));
    posthog.capture_v1().then(reply);

    let response = soon(v1_request(&posthog).body(v1_batch(&events)).send()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["retry-after"], "1");
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let expected = json!({"results": {
        v1_uuid(0): {"result": "ok"},
        v1_uuid(1): {"result": "limited"},
        v1_uuid(3): {"result": "retry", "details": "not_persisted"},
        v1_uuid(4): {"result": "retry", "details": "not_persisted"},
        v1_uuid(5): {"result": "warning"},
        v1_uuid(6): {"result": "ok"},
        v1_uuid(7): {"result": "drop", "details": "event_too_big"},
    }});
    assert_eq!(answer, expected);
    // Stored, though the answer leaves it out.
    assert_eq!(posthog.uuid_counts()[&v1_uuid(2)], 1);
    assert_eq!((posthog.accepted(), posthog.events().len()), (5, 5));

    // The reply was for one request.
    let (_, answer) = v1_post(&posthog, &events[3..5]).await;
    assert_eq!(answer["results"][v1_uuid(3)], json!({"result": "ok"}));
    assert_eq!((posthog.accepted(), posthog.distinct()), (7, 7));
}

#[tokio::test]
async fn a_standing_verdict_stays_and_its_retry_after_replaces_posthogs() {
    let posthog = FakePostHog::start();
    let reply = Reply::normal().verdict(.., Verdict::new("retry")).retry_after("30");
    posthog.capture_v1().always(reply);
    for _ in 0..2 {
        let response = soon(v1_request(&posthog).body(v1_batch(&[v1_event(1)])).send()).await.unwrap();
        let retry_after: Vec<_> = response.headers().get_all("retry-after").iter().collect();
        assert_eq!(retry_after, ["30"]);
    }
    assert_eq!((posthog.accepted(), posthog.distinct()), (0, 0));

    posthog.recover();
    let response = soon(v1_request(&posthog).body(v1_batch(&[v1_event(1)])).send()).await.unwrap();
    assert_eq!(response.headers().get("retry-after"), None);
    assert_eq!(posthog.accepted(), 1);
}

#[tokio::test]
async fn rules_for_names_apply_to_both_protocols() {
    let posthog = FakePostHog::start();
    posthog.reject_events_named(&["poison"]);
    let (_, answered) = v1_post(&posthog, &[v1_event(0), with(1, "event", "poison")]).await;
    assert_eq!(answered["results"][v1_uuid(1)], json!({"result": "drop", "details": "rejected"}));
    assert_eq!(posthog.accepted(), 1);

    posthog.reply_to_events_named("poison", Reply::error(500, "internal_error"));
    let (status, answered) = v1_post(&posthog, &[v1_event(2), with(3, "event", "poison")]).await;
    assert_eq!((status, answered["error"].as_str()), (500, Some("internal_error")));
    assert_eq!(posthog.accepted(), 1);
}

#[tokio::test]
async fn errors_can_be_scripted_with_their_tag() {
    let posthog = FakePostHog::start();
    for (status, tag, uri) in [
        (402, "billing_limit_exceeded", "https://posthog.com/docs/billing/limits"),
        (429, "billing_limit_exceeded", "https://posthog.com/docs/billing/limits"),
        (429, "rate_limited", "https://posthog.com/docs/api"),
        (503, "service_unavailable", "https://posthog.com/docs/api"),
    ] {
        posthog.capture_v1().then(Reply::error(status, tag).retry_after("1"));
        let request = v1_request(&posthog).body(v1_batch(&[v1_event(1)]));
        let (seen, error) = answer(request).await;
        let description = tag.replace('_', " ");
        assert_eq!(seen, status);
        assert_eq!(error, json!({"error": tag, "error_description": description, "error_uri": uri}));
    }
    assert_eq!(posthog.accepted(), 0);
}

#[tokio::test]
async fn an_event_counts_once_whichever_protocol_carries_it() {
    let posthog = FakePostHog::start();
    let v0 = json!({"event": "e", "distinct_id": "u", "uuid": v1_uuid(1)}).to_string();
    assert_eq!(v1_post(&posthog, &[v1_event(1), v1_event(2)]).await.0, 200);
    assert_eq!(post(&posthog, "/batch/", batch(&[&v0])).await.status(), 200);

    assert_eq!((posthog.accepted(), posthog.distinct()), (3, 2));
    assert_eq!(posthog.uuid_counts()[&v1_uuid(1)], 2);
    soon(posthog.wait_for_distinct(2)).await;
}

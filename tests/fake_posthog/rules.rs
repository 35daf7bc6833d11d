//! PostHog's rules: what is accepted, refused and billed.

use std::time::SystemTime;

use posthog_health::testing::{FakePostHog, Route};
use reqwest::Method;

use super::{EVENT, UUID, batch, client, post, soon};

#[tokio::test]
async fn a_repeated_event_is_accepted_again_and_counts_once() {
    let posthog = FakePostHog::start();
    let upper = UUID.to_uppercase();
    for uuid in [UUID, &upper] {
        let event = format!(r#"{{"event": "e", "distinct_id": "u", "uuid": "{uuid}"}}"#);
        assert_eq!(post(&posthog, "/batch/", batch(&[&event])).await.status(), 200);
    }
    assert_eq!((posthog.accepted(), posthog.distinct()), (2, 1));
    assert_eq!(posthog.uuid_counts(), [(UUID.to_owned(), 2)].into());
    soon(posthog.wait_for_distinct(1)).await;
}

#[tokio::test]
async fn one_bad_event_costs_the_whole_batch() {
    let posthog = FakePostHog::start();
    for bad in [
        r#"{"distinct_id": "u"}"#,
        r#"{"event": "", "distinct_id": "u"}"#,
        r#"{"event": null, "distinct_id": "u"}"#,
        r#"{"event": "e"}"#,
        r#"{"event": "e", "distinct_id": null}"#,
        r#"{"event": "e", "distinct_id": ""}"#,
        r#"{"event": "e", "distinct_id": "u", "uuid": "not-a-uuid"}"#,
        r#"{"event": "e", "distinct_id": "u", "uuid": "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5g"}"#,
        r#"{"event": "e", "distinct_id": "u", "properties": null}"#,
        r#"{"event": "e", "distinct_id": "u", "properties": []}"#,
        r#"{"event": "e", "distinct_id": "u", "properties": {"deep": [{"lone": "\ud800"}]}}"#,
        r#"{"event": "e", "distinct_id": "u", "properties": {"n": NaN}}"#,
        r#"{"event": "e", "distinct_id": "u", "timestamp": 1700000000}"#,
        r#"{"event": "e", "distinct_id": "u", "uuid": ""}"#,
        r#"{"event": "e", "distinct_id": "u", "$set": "everything"}"#,
        r#"{"event": "e", "distinct_id": "u", "$set_once": []}"#,
        r#"{"event": "e", "properties": {"distinct_id": ""}}"#,
    ] {
        let response = post(&posthog, "/batch/", batch(&[EVENT, bad, EVENT])).await;
        assert_eq!(response.status(), 400, "{bad}");
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        assert_ne!(response.text().await.unwrap(), "", "{bad}");
    }
    assert_eq!(posthog.accepted(), 0);
    assert!(posthog.events().is_empty());

    for good in [
        r#"{"event": "e", "distinct_id": 7, "unknown": {"a": [null, true, -1, 1.5e3]}}"#,
        r#"{"event": "e", "distinct_id": "u", "uuid": null, "timestamp": null, "$set": null}"#,
        r#"{"event": "e", "distinct_id": "u", "properties": {"a": [1, -1, 0.5, null, true, {"b": "\u00e9"}]}}"#,
    ] {
        let response = post(&posthog, "/batch/", batch(&[good])).await;
        assert_eq!(response.status(), 200, "{good}");
    }
}

#[tokio::test]
async fn a_bad_envelope_is_refused() {
    let posthog = FakePostHog::start();
    for (body, reason) in [
        (batch(&[]), "request holds no event"),
        (format!(r#"{{"batch": [{EVENT}]}}"#), "did not match any variant"),
        (format!(r#"{{"api_key": null, "batch": [{EVENT}]}}"#), "did not match any variant"),
        (format!(r#"{{"token": "a", "api_key": "a", "batch": [{EVENT}]}}"#), "did not match any variant"),
        (format!(r#"{{"api_key": "a", "sent_at": 1, "batch": [{EVENT}]}}"#), "did not match any variant"),
        (
            format!(r#"{{"api_key": "a", "historical_migration": "false", "batch": [{EVENT}]}}"#),
            "did not match any variant",
        ),
        ("{".to_owned(), "failed to parse request"),
        (String::new(), "failed to parse request"),
    ] {
        let response = post(&posthog, "/batch/", body).await;
        assert_eq!(response.status(), 400, "{reason}");
        let text = response.text().await.unwrap();
        assert!(text.contains(reason), "{text}");
    }
    let mut invalid_utf8 = batch(&[EVENT]).into_bytes();
    invalid_utf8[14] = 0xff;
    let response = post(&posthog, "/batch/", invalid_utf8).await;
    assert_eq!(response.status(), 400);
    assert_eq!(response.text().await.unwrap(), "failed to decode request: invalid body encoding");
    assert_eq!(post(&posthog, "/batch/?compression=lz64", batch(&[EVENT])).await.status(), 400);
    let form = client().post(format!("{}/batch/", posthog.url())).body(batch(&[EVENT]));
    let form = form.header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(soon(form.send()).await.unwrap().status(), 400);
    assert_eq!(posthog.accepted(), 0);
}

#[tokio::test]
async fn capture_checks_only_the_shape_of_a_token() {
    let posthog = FakePostHog::start();
    for (token, reason) in [
        ("", "empty"),
        (&"x".repeat(65), "too_long"),
        ("phc_é", "not_ascii"),
        ("phx_secret", "personal_api_key"),
    ] {
        let body = format!(r#"{{"api_key": "{token}", "batch": [{EVENT}]}}"#);
        let response = post(&posthog, "/batch/", body).await;
        assert_eq!(response.status(), 401);
        let expected = format!("API key is not valid: {reason}");
        assert_eq!(response.text().await.unwrap(), expected);
        // The token is checked before the events are counted.
        let empty = format!(r#"{{"api_key": "{token}", "batch": []}}"#);
        assert_eq!(post(&posthog, "/batch/", empty).await.status(), 401);
    }
    let unknown = format!(r#"{{"api_key": "phc_unknown", "batch": [{EVENT}]}}"#);
    assert_eq!(post(&posthog, "/batch/", unknown).await.status(), 200);
}

#[tokio::test]
async fn over_quota_events_vanish_behind_a_200() {
    let posthog = FakePostHog::start();
    posthog.limit_quota(true);
    let response = post(&posthog, "/batch/", batch(&[EVENT])).await;
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    assert!(text.contains(r#""quota_limited":["events"]"#), "{text}");
    assert_eq!(posthog.accepted(), 0);

    posthog.limit_quota(false);
    post(&posthog, "/batch/", batch(&[EVENT])).await;
    assert_eq!(posthog.accepted(), 1);
}

#[tokio::test]
async fn flags_tell_a_known_token_and_bill_only_evaluations() {
    let posthog = FakePostHog::start();
    let ask = async |token: &str, rest: &str| {
        let body = format!(r#"{{"api_key": "{token}", {rest}}}"#);
        post(&posthog, "/flags/?v=2&config=false", body).await
    };
    let probe = r#""disable_flags": true"#;

    assert_eq!(ask(FakePostHog::TOKEN, probe).await.status(), 200);
    assert_eq!(posthog.billable_flag_requests(), 0);
    let response = ask(FakePostHog::TOKEN, r#""distinct_id": "u""#).await;
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    assert!(text.contains(r#""errorsWhileComputingFlags":false"#), "{text}");
    assert_eq!(posthog.billable_flag_requests(), 1);
    assert_eq!(ask(FakePostHog::TOKEN, r#""groups": {}"#).await.status(), 400);

    let response = ask("phc_other", probe).await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert!(response.text().await.unwrap().contains("authentication_error"));
    posthog.know_token("phc_other");
    assert_eq!(ask("phc_other", probe).await.status(), 200);
    posthog.forget_token("phc_other");
    assert_eq!(ask("phc_other", probe).await.status(), 401);
    assert_eq!(posthog.billable_flag_requests(), 1);
}

#[tokio::test]
async fn methods_and_paths_are_told_apart() {
    let posthog = FakePostHog::start();
    for (method, path, status) in [
        (Method::GET, "/flags/", 200),
        (Method::HEAD, "/flags/", 200),
        (Method::GET, "/batch/", 400),
        (Method::HEAD, "/batch/", 400),
        (Method::OPTIONS, "/batch/", 200),
        (Method::PUT, "/batch/", 405),
        (Method::POST, "/e/", 400),
        (Method::OPTIONS, "/i/v0/e/", 200),
        (Method::GET, "/i/v1/analytics/events", 405),
        (Method::OPTIONS, "/i/v1/analytics/events/", 200),
        (Method::GET, "/_readiness", 200),
        (Method::PUT, "/flags/", 405),
        (Method::POST, "/i/v2/analytics/events", 404),
    ] {
        let url = format!("{}{path}", posthog.url());
        let response = client().request(method, url).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let text = response.text().await.unwrap();
        assert!(matches!(status, 200 | 400) || text.is_empty(), "{path}: {text}");
    }
    assert_eq!(posthog.request_count(Route::Batch), 6);
    assert_eq!(posthog.request_count(Route::CaptureV1), 2);
    assert_eq!(posthog.request_count(Route::Flags), 3);
    assert_eq!(posthog.request_count(Route::Other), 2);
}

#[tokio::test]
async fn a_personal_key_is_told_what_it_may_do() {
    let posthog = FakePostHog::start();
    posthog.know_personal_key("phx_known", &["feature_flag:read"], Some("2026-01-01T00:00:00Z"));
    let ask = async |key: &str| {
        let url = format!("{}/api/personal_api_keys/@current/", posthog.url());
        soon(client().get(url).bearer_auth(key).send()).await.unwrap()
    };
    let known = ask("phx_known").await;
    assert_eq!(known.status(), 200);
    let known: serde_json::Value = serde_json::from_str(&known.text().await.unwrap()).unwrap();
    assert_eq!(known["scopes"], serde_json::json!(["feature_flag:read"]));
    assert_eq!(known["last_used_at"], "2026-01-01T00:00:00Z");
    assert_eq!(ask("phx_unknown").await.status(), 401);
    assert_eq!(post(&posthog, "/api/personal_api_keys/@current/", "").await.status(), 405);
    assert_eq!(posthog.request_count(Route::PersonalApiKey), 3);
}

#[tokio::test]
async fn answers_have_the_servers_time_which_can_be_wrong() {
    let posthog = FakePostHog::start();
    for ahead in [0, 3600, -3600] {
        posthog.set_clock_ahead(ahead);
        let response = post(&posthog, "/batch/", batch(&[EVENT])).await;
        let date = httpdate::parse_http_date(response.headers()["date"].to_str().unwrap()).unwrap();
        let here = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let there = date.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let difference = i64::try_from(there).unwrap() - i64::try_from(here).unwrap() - ahead;
        assert!((-60..=1).contains(&difference), "{ahead}: {difference}");
    }
}

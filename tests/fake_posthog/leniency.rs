//! What PostHog's V0 accepts beyond what its documentation says.

use posthog_health::testing::{FakePostHog, Route};
use serde_json::json;

use super::{EVENT, UUID, batch, post};

const TOKEN: &str = FakePostHog::TOKEN;

#[tokio::test]
async fn a_token_and_a_distinct_id_may_stand_elsewhere() {
    let posthog = FakePostHog::start();
    let token_of_batch = format!(r#"{{"token": "{TOKEN}", "batch": [{EVENT}]}}"#);
    for body in [
        token_of_batch,
        batch(&[r#"{"event": "e", "properties": {"distinct_id": "u"}}"#]),
        batch(&[r#"{"event": "e", "distinct_id": null, "properties": {"distinct_id": 7}}"#]),
        batch(&[r#"{"event": "e", "$distinct_id": "u"}"#]),
    ] {
        assert_eq!(post(&posthog, "/batch/", body.clone()).await.status(), 200, "{body}");
    }
    assert_eq!(posthog.accepted(), 4);
}

#[tokio::test]
async fn a_uuid_may_be_written_in_any_form_and_is_the_same() {
    let posthog = FakePostHog::start();
    for uuid in [format!("urn:uuid:{UUID}"), format!("{{{UUID}}}"), UUID.replace('-', "")] {
        let event = json!({"event": "e", "distinct_id": "u", "uuid": uuid}).to_string();
        assert_eq!(post(&posthog, "/batch/", batch(&[&event])).await.status(), 200, "{uuid}");
    }
    assert_eq!((posthog.accepted(), posthog.distinct()), (3, 1));
}

#[tokio::test]
async fn an_array_or_a_single_event_brings_its_token_along() {
    let posthog = FakePostHog::start();
    let event = |member: &str, token: &str| {
        json!({"event": "e", "distinct_id": "u", "uuid": UUID, member: token}).to_string()
    };
    let [api_key, token] = [event("api_key", TOKEN), event("$token", TOKEN)];
    let in_properties = json!({"event": "e", "distinct_id": "u", "properties": {"token": TOKEN}}).to_string();
    for (path, body, status) in [
        ("/batch/", api_key.clone(), 200),
        ("/e/", in_properties, 200),
        ("/i/v0/e/", format!("[{api_key}, {token}, {EVENT}]"), 200),
        ("/batch/", EVENT.to_owned(), 401),
        ("/batch/", format!("[{EVENT}]"), 401),
        ("/batch/", "[]".to_owned(), 401),
        ("/batch/", format!("[{api_key}, {}]", event("token", "phc_other")), 401),
        ("/batch/", event("api_key", "phx_secret"), 401),
        ("/batch/", format!(r#"[{api_key}, {{"event": "e"}}]"#), 400),
    ] {
        assert_eq!(post(&posthog, path, body.clone()).await.status(), status, "{body}");
    }
    assert_eq!((posthog.accepted(), posthog.events().len()), (5, 5));
    assert_eq!(posthog.uuid_counts(), [(UUID.to_owned(), 3)].into());
    assert_eq!(posthog.request_count(Route::Batch), 9);
}

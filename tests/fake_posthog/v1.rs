//! Capture V1: what a request must look like, and its place in the record.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};
use posthog_health::testing::{FakePostHog, Route};
use reqwest::RequestBuilder;
use reqwest::header::HeaderName;
use serde_json::{Value, json};

use super::connections::gzip;
use super::{UUID, answer, soon, v1_batch, v1_event, v1_post, v1_request, v1_uuid};

/// The good request without a header, or with another value of it.
fn with_header(posthog: &FakePostHog, name: &'static str, value: Option<&str>) -> RequestBuilder {
    let (client, request) = v1_request(posthog).build_split();
    let mut request = request.unwrap();
    request.headers_mut().remove(name);
    if let Some(value) = value {
        let name = HeaderName::from_static(name);
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    RequestBuilder::from_parts(client, request)
}

async fn refused(request: RequestBuilder, status: u16, tag: &str) {
    let (seen, error) = answer(request).await;
    assert_eq!((seen, error["error"].as_str()), (status, Some(tag)), "{error}");
    assert!(error["error_description"].is_string() && error["error_uri"].is_string(), "{error}");
}

#[tokio::test]
async fn each_header_is_required_and_has_a_shape() {
    let posthog = FakePostHog::start();
    let body = v1_batch(&[v1_event(1)]);
    let required = "missing_required_headers";
    let invalid = "invalid_header_value";
    let long = format!("Bearer {}", "x".repeat(65));
    for (name, value, status, tag) in [
        ("authorization", None, 401, "missing_authorization"),
        ("content-type", None, 400, required),
        ("user-agent", None, 400, required),
        ("posthog-sdk-info", None, 400, required),
        ("posthog-request-id", None, 400, required),
        ("posthog-attempt", None, 400, required),
        ("posthog-request-timestamp", None, 400, required),
        ("authorization", Some("Basic abc"), 400, invalid),
        ("authorization", Some("Bearer phx_secret"), 401, "invalid_api_token"),
        ("authorization", Some(long.as_str()), 401, "invalid_api_token"),
        ("content-type", Some("text/plain"), 415, "unsupported_content_type"),
        ("content-encoding", Some("br"), 415, "unsupported_encoding"),
        ("content-encoding", Some("zstd"), 415, "unsupported_encoding"),
        ("posthog-request-id", Some("1"), 400, invalid),
        ("posthog-attempt", Some("0"), 400, invalid),
        ("posthog-attempt", Some("first"), 400, invalid),
        ("posthog-request-timestamp", Some("now"), 400, invalid),
    ] {
        refused(with_header(&posthog, name, value).body(body.clone()), status, tag).await;
    }
    assert_eq!(posthog.accepted(), 0);

    for (name, value) in [
        ("authorization", "bearer  phc_unknown "),
        ("content-type", "Application/JSON; charset=utf-8"),
        ("posthog-request-timestamp", "2026-11-29T12:00:01.5+00:00"),
    ] {
        let (status, _) = answer(with_header(&posthog, name, Some(value)).body(body.clone())).await;
        assert_eq!(status, 200, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_body_of_another_shape_fails_the_batch() {
    let posthog = FakePostHog::start();
    let with = |member: &str, value: Value| {
        let mut event = v1_event(2);
        event[member] = value;
        event
    };
    let without = |member: &str| {
        let mut event = v1_event(2);
        event.as_object_mut().unwrap().remove(member);
        event
    };
    for bad in [
        with("event", json!(7)),
        with("distinct_id", json!(7)),
        with("timestamp", json!(1_700_000_000)),
        with("session_id", json!(7)),
        with("window_id", json!(7)),
        with("options", json!([])),
        with("options", json!({"cookieless_mode": "true"})),
        with("options", json!({"disable_skew_correction": 1})),
        with("options", json!({"process_person_profile": "1"})),
        with("options", json!({"product_tour_id": 7})),
        without("event"),
        without("distinct_id"),
        without("timestamp"),
        without("uuid"),
    ] {
        let request = v1_request(&posthog).body(v1_batch(&[v1_event(1), bad.clone()]));
        let (status, error) = answer(request).await;
        assert_eq!((status, error["error"].as_str()), (400, Some("request_parsing_error")), "{bad}");
    }
    for (uuid, tag) in [
        ("", "missing_event_uuid"),
        ("7", "invalid_event_uuid"),
        (&v1_uuid(1).to_uppercase(), "duplicate_event_uuid"),
    ] {
        let request = v1_request(&posthog).body(v1_batch(&[v1_event(1), with("uuid", json!(uuid))]));
        refused(request, 400, tag).await;
    }
    for (body, tag) in [
        (String::new(), "empty_body"),
        ("[".to_owned(), "request_parsing_error"),
        (json!({"batch": [v1_event(1)]}).to_string(), "request_parsing_error"),
        (v1_batch(&[]), "empty_batch"),
        (json!({"created_at": "now", "batch": [v1_event(1)]}).to_string(), "invalid_batch"),
    ] {
        refused(v1_request(&posthog).body(body), 400, tag).await;
    }
    assert_eq!(posthog.accepted(), 0);

    let full = json!({"cookieless_mode": true, "product_tour_id": "t", "process_person_profile": null});
    let mut good = with("options", full);
    good["session_id"] = json!("s");
    assert_eq!(v1_post(&posthog, &[good, v1_event(1)]).await.0, 200);
}

#[tokio::test]
async fn bodies_are_decompressed_as_announced_and_limited() {
    let posthog = FakePostHog::start();
    let body = v1_batch(&[v1_event(1)]);
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(body.as_bytes()).unwrap();
    let mut bare = DeflateEncoder::new(Vec::new(), Compression::fast());
    bare.write_all(body.as_bytes()).unwrap();
    let (zlib, bare) = (zlib.finish().unwrap(), bare.finish().unwrap());
    for (codec, packed) in [("gzip", gzip(body.as_bytes())), ("deflate", zlib), ("Deflate", bare)] {
        let request = with_header(&posthog, "content-encoding", Some(codec)).body(packed);
        assert_eq!(answer(request).await.0, 200, "{codec}");
        assert_eq!(posthog.requests().pop().unwrap().body, body);
    }

    let zipped = gzip(body.as_bytes());
    refused(v1_request(&posthog).body(zipped), 400, "request_parsing_error").await;
    let plain = with_header(&posthog, "content-encoding", Some("gzip")).body(body);
    refused(plain, 400, "request_decoding_error").await;
    let bomb = gzip(&vec![b' '; (50 << 20) + 1]);
    let bomb = with_header(&posthog, "content-encoding", Some("gzip")).body(bomb);
    refused(bomb, 413, "payload_too_large").await;
    let large = v1_request(&posthog).body(vec![b' '; (10 << 20) + 1]);
    // The server answers while the client writes, so the client may see a reset instead.
    let _ = soon(large.send()).await;
    assert_eq!(posthog.requests().pop().unwrap().status, Some(413));
    assert_eq!(posthog.accepted(), 3);
}

#[tokio::test]
async fn over_quota_and_revoked_tokens_are_told() {
    let posthog = FakePostHog::start();
    posthog.limit_quota(true);
    refused(v1_request(&posthog).body(v1_batch(&[v1_event(1)])), 402, "billing_limit_exceeded").await;
    posthog.limit_quota(false);
    posthog.revoke_token(FakePostHog::TOKEN);
    let padded = format!("Bearer  {} ", FakePostHog::TOKEN);
    let request = with_header(&posthog, "authorization", Some(&padded));
    refused(request.body(v1_batch(&[v1_event(1)])), 401, "invalid_api_token").await;
    assert_eq!(posthog.accepted(), 0);
}

#[tokio::test]
async fn the_record_has_both_protocols() {
    let posthog = FakePostHog::start();
    v1_post(&posthog, &[v1_event(1), v1_event(2)]).await;
    let event = format!(r#"{{"event": "e", "distinct_id": "u", "uuid": "{UUID}"}}"#);
    super::post(&posthog, "/batch/", super::batch(&[&event])).await;

    let requests = posthog.requests();
    let routes: Vec<_> = requests.iter().map(|request| request.route).collect();
    assert_eq!(routes, [Route::CaptureV1, Route::Batch]);
    assert_eq!(requests[0].header("PostHog-Request-Id"), Some(UUID));
    assert_eq!(requests[0].header("PostHog-Attempt"), Some("1"));
    assert_eq!(requests[0].header("PostHog-Request-Timestamp"), Some("2026-11-29T12:00:01Z"));
    assert_eq!(requests[0].json()["created_at"], "2026-11-29T12:00:00Z");
    assert_eq!(requests[1].json()["api_key"], FakePostHog::TOKEN);
    assert_eq!(posthog.request_count(Route::CaptureV1), 1);
    let uuids: Vec<_> = posthog.events().iter().map(|event| event["uuid"].clone()).collect();
    assert_eq!(uuids, [v1_uuid(1), v1_uuid(2), UUID.to_owned()]);
}

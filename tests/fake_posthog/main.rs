//! `FakePostHog` against PostHog's rules and against its own scripts, over real sockets.

#![cfg(feature = "testing")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod connections;
mod hosts;
mod leniency;
mod replies;
mod rules;
mod v1;
mod verdicts;

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use posthog_health::testing::FakePostHog;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const UUID: &str = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
const EVENT: &str = r#"{"event": "e", "distinct_id": "u"}"#;

fn batch(events: &[&str]) -> String {
    let (token, events) = (FakePostHog::TOKEN, events.join(","));
    format!(r#"{{"api_key": "{token}", "batch": [{events}]}}"#)
}

/// One for all tests, because a client takes long to make. Each test has a runtime of its own, so that none may leave
/// connections behind.
fn client() -> &'static Client {
    static CLIENT: LazyLock<Client> =
        LazyLock::new(|| Client::builder().pool_max_idle_per_host(0).build().unwrap());
    &CLIENT
}

async fn post(posthog: &FakePostHog, path: &str, body: impl Into<reqwest::Body>) -> Response {
    let url = format!("{}{path}", posthog.url());
    soon(client().post(url).body(body).send()).await.unwrap()
}

/// A V1 batch of these events.
fn v1_batch(events: &[Value]) -> String {
    json!({"created_at": "2026-11-29T12:00:00Z", "batch": events}).to_string()
}

/// A good V1 event. Each number has a uuid of its own.
fn v1_event(number: usize) -> Value {
    json!({
        "event": "e",
        "uuid": v1_uuid(number),
        "distinct_id": "u",
        "timestamp": "2026-11-29T12:00:00.123+01:00",
        "options": {},
        "properties": {},
    })
}

fn v1_uuid(number: usize) -> String {
    format!("0190a1b2-c3d4-7e5f-8a9b-{number:012x}")
}

/// A good V1 request, but for its body.
fn v1_request(posthog: &FakePostHog) -> RequestBuilder {
    client()
        .post(format!("{}/i/v1/analytics/events", posthog.url()))
        .bearer_auth(FakePostHog::TOKEN)
        .header("content-type", "application/json")
        .header("user-agent", "tests/1.0")
        .header("posthog-sdk-info", "tests/1.0")
        .header("posthog-request-id", UUID)
        .header("posthog-attempt", "1")
        .header("posthog-request-timestamp", "2026-11-29T12:00:01Z")
}

/// Sends events by V1. Returns the status and the JSON of the answer.
async fn v1_post(posthog: &FakePostHog, events: &[Value]) -> (u16, Value) {
    answer(v1_request(posthog).body(v1_batch(events))).await
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = soon(request.send()).await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json", "{status}");
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

async fn get_status(posthog: &FakePostHog, path: &str) -> u16 {
    let url = format!("{}{path}", posthog.url());
    soon(client().get(url).send()).await.unwrap().status().as_u16()
}

fn address(posthog: &FakePostHog) -> String {
    posthog.url().strip_prefix("http://").unwrap().to_owned()
}

async fn connect(posthog: &FakePostHog) -> TcpStream {
    TcpStream::connect(address(posthog)).await.unwrap()
}

/// A `POST /batch/` as bytes.
fn raw(headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST /batch/ HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

async fn read_until(client: &mut TcpStream, end: &str) -> String {
    let mut seen = String::new();
    while !seen.ends_with(end) {
        let byte = client.read_u8().await.unwrap();
        seen.push(char::from(byte));
    }
    seen
}

/// What must come comes; the limit only keeps a broken test from hanging.
async fn soon<F: Future>(future: F) -> F::Output {
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, future).await.expect("in time")
}

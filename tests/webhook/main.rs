//! PostHog's webhooks: who is let in, and how often.

mod axum;
mod layer;
#[path = "../support/log.rs"]
mod log;
mod logs;
mod refusals;
mod shared;
mod vectors;
mod verifier;

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use posthog_health::webhook::WebhookSecret;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const BODY: &[u8] = br#"{"event":{"event":"order placed"}}"#;

fn secret() -> WebhookSecret {
    WebhookSecret::parse(SECRET).unwrap()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

fn headers(id: &str, timestamp: u64, signature: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let timestamp = timestamp.to_string();
    for (name, value) in
        [("webhook-id", id), ("webhook-timestamp", &timestamp), ("webhook-signature", signature)]
    {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// As PostHog sends it.
fn signed(id: &str, timestamp: u64, body: &[u8]) -> HeaderMap {
    headers(id, timestamp, &secret().sign(id, timestamp, body))
}

//! Captured events on their way to a PostHog that works, and to one that fails in every way.

mod arrival;
mod batching;
mod hooks;
mod outages;
mod queue;
#[path = "../support/client.rs"]
mod support;
mod suspects;

use std::time::SystemTime;

use posthog_health::testing::{FakePostHog, Request, Route};
use serde_json::Value;

fn batches(server: &FakePostHog) -> Vec<Request> {
    server.requests().into_iter().filter(|request| request.route == Route::Batch).collect()
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

fn uuids(batch: &Value) -> Vec<String> {
    batch["batch"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["uuid"].as_str().unwrap().to_owned())
        .collect()
}

fn time(text: &Value) -> SystemTime {
    humantime::parse_rfc3339(text.as_str().unwrap()).unwrap()
}

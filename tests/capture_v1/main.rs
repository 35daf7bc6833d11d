//! Capture V1 from end to end: what it says of events, where it does not work, and what is on the wire.
#![cfg(feature = "testing")]

#[path = "../support/log.rs"]
mod log;
mod protocols;
#[allow(dead_code, reason = "the README's table has more to show")]
#[path = "../readme_failures/row.rs"]
mod row;
mod rows;
#[path = "../support/client.rs"]
mod support;
mod wire;

use posthog_health::testing::{FakePostHog, Request, Route};
use posthog_health::{CaptureProtocol, PostHogBuilder};

/// A client that speaks V1 only.
fn v1(server: &FakePostHog) -> PostHogBuilder {
    support::builder(server).capture_protocol(CaptureProtocol::V1)
}

fn auto(server: &FakePostHog) -> PostHogBuilder {
    support::builder(server).capture_protocol(CaptureProtocol::Auto)
}

/// The requests to this route.
fn requests(server: &FakePostHog, route: Route) -> Vec<Request> {
    server.requests().into_iter().filter(|request| request.route == route).collect()
}

/// The names of the events in a request.
fn names(request: &Request) -> Vec<String> {
    let body = request.json();
    let events = body["batch"].as_array().cloned().unwrap_or_default();
    events.iter().map(|event| event["event"].as_str().unwrap_or_default().to_owned()).collect()
}

//! The SDK makes its events, and we carry them: each arrives once, by our requests.
#![cfg(feature = "error-tracking")]

mod ends;
mod events;
mod local_evaluation;
mod panics;
mod same_names;
#[path = "../support/client.rs"]
mod support;

use posthog_health::testing::{FakePostHog, Reply, Route};
use serde_json::{Value, json};

/// What `/flags/` answers: one flag that is on, and the gate that minimises its events.
fn flags() -> Reply {
    let flag = json!({
        "key": "beta",
        "enabled": true,
        "variant": null,
        "reason": {"code": "condition_match", "description": "Matched", "condition_index": 0},
        "metadata": {"id": 7, "version": 3, "description": null, "payload": null, "has_experiment": false},
    });
    let answer = json!({
        "flags": {"beta": flag},
        "errorsWhileComputingFlags": false,
        "requestId": "r-1",
        "minimalFlagCalledEvents": true,
    });
    Reply::status(200).header("content-type", "application/json").body(answer.to_string())
}

/// The events that arrived, by name.
fn named(server: &FakePostHog, name: &str) -> Vec<Value> {
    server.events().into_iter().filter(|event| event["event"] == name).collect()
}

/// Every request that captures is ours, and no event came twice.
fn assert_only_ours_captured(server: &FakePostHog) {
    for request in server.requests() {
        let agent = request.header("user-agent").unwrap();
        match request.route {
            Route::Batch => {
                assert!(agent.starts_with("posthog-health/"), "{agent}");
                assert_eq!(request.header("content-encoding"), Some("gzip"));
            }
            Route::Flags => {}
            other => assert_eq!(request.path, "/flags/definitions/", "{other:?}"),
        }
    }
    assert_eq!(server.accepted(), server.distinct(), "each event once");
}

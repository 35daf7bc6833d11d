//! `health_check()` and `health()`: what they say, what they cost, and how they look as JSON.

#[path = "support/client.rs"]
mod support;

use std::time::Duration;

use posthog_health::layers::CircuitState;
use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{PostHog, Reason};
use serde_json::{Value, json};
use support::{MS, builder, capture, client_without_runtime, until};
use tokio::io::AsyncWriteExt;

/// The form that readiness probes and dashboards may rely on.
fn schema() -> Value {
    let count = json!({"type": "integer", "minimum": 0});
    let link = json!({"type": "string", "pattern": "^runbook\\.md#[a-z_-]+$"});
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["status", "posthog", "reasons", "breaker", "queue", "ledger", "alerts", "versions"],
        "properties": {
            "status": {"enum": ["healthy", "degraded"]},
            "posthog": {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "connected": {"type": "boolean"}, "latencyMs": count,
                    "error": {"type": "string"}, "status": count,
                },
            },
            "capture": {
                "type": "object",
                "additionalProperties": false,
                "required": ["protocol", "reason"],
                "properties": {
                    "protocol": {"enum": ["v0", "v1"]},
                    "reason": {"enum": [
                        "configured", "cloud_host", "other_host", "works", "unsupported", "headers_stripped", "drops_all",
                    ]},
                },
            },
            "reasons": {"type": "array", "items": {
                "type": "object",
                "additionalProperties": false,
                "required": ["code", "detail", "runbook"],
                "properties": {"detail": {"type": "string"}, "runbook": link, "code": {"enum": [
                    "disabled", "shutting_down", "shut_down", "worker_stopped", "unauthorized", "wrong_host", "quota_exceeded",
                    "unreachable", "server_error", "rate_limited", "breaker_open", "rejected_events",
                    "person_processing_disabled", "queue_filling",
                    "losing_events",
                ]}},
            }},
            "breaker": {
                "type": "object",
                "additionalProperties": false,
                "required": ["state"],
                "properties": {"state": {"enum": ["closed", "open", "half_open"]}, "retryInMs": count},
            },
            "queue": {
                "type": "object",
                "additionalProperties": false,
                "required": ["events", "capacity", "bytes", "capacityBytes"],
                "properties": {"events": count, "capacity": count, "bytes": count, "capacityBytes": count},
            },
            "ledger": {
                "type": "object",
                "additionalProperties": false,
                "required": ["captured", "delivered", "queued", "spooled", "deadLettered", "dropped"],
                "properties": {
                    "captured": count, "delivered": count, "queued": count, "spooled": count, "deadLettered": count,
                    "dropped": {"type": "object", "additionalProperties": count},
                },
            },
            "alerts": {"type": "array", "items": {
                "type": "object",
                "additionalProperties": false,
                "required": ["name", "surface", "severity", "firingForMs", "detail", "runbook"],
                "properties": {
                    "name": {"enum": [
                        "api_down", "high_latency", "rate_limited", "auth_failures", "quota_exceeded", "losing_events",
                        "circuit_open", "spool_filling", "stalled",
                    ]},
                    "surface": {"enum": ["capture", "flags"]}, "severity": {"enum": ["P1", "P2"]},
                    "firingForMs": count, "detail": {"type": "string"}, "runbook": link,
                },
            }},
            "lastSuccessAgeMs": count,
            "lastError": {
                "type": "object",
                "additionalProperties": false,
                "required": ["kind", "ageMs"],
                "properties": {"kind": {"type": "string"}, "status": count, "answer": {"type": "string"}, "ageMs": count},
            },
            "versions": {
                "type": "object",
                "additionalProperties": false,
                "required": ["posthogHealth", "posthogRs"],
                "properties": {"posthogHealth": {"type": "string"}, "posthogRs": {"type": "string"}},
            },
        },
    })
}

fn assert_fits_schema(report: &posthog_health::HealthReport) {
    let report: Value = serde_json::from_str(&report.to_json()).unwrap();
    if let Err(error) = jsonschema::validate(&schema(), &report) {
        panic!("{error}: {report}");
    }
}

#[tokio::test]
async fn the_json_begins_as_the_checklist_has_it() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    let report = posthog.health_check().await;
    assert_fits_schema(&report);
    let latency = report.posthog.latency.unwrap().as_millis();
    let begin =
        format!(r#"{{"status":"healthy","posthog":{{"connected":true,"latencyMs":{latency}}},"reasons":[]"#);
    assert!(report.to_json().starts_with(&begin), "{report}");
}

#[tokio::test]
async fn healthy_without_io_once_traffic_has_shown_it() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    let fresh = posthog.health();
    assert!(fresh.is_healthy() && fresh.posthog.connected.is_none());
    assert_fits_schema(&fresh);
    capture(&posthog, 10);
    posthog.flush().await.unwrap();
    let seen = posthog.health();
    assert_eq!(seen.posthog.connected, Some(true));
    assert!(seen.last_success.is_some() && seen.posthog.latency.is_some());
    assert_eq!(seen.ledger.delivered, 10);
    assert_eq!(server.request_count(Route::Flags), 0);
    assert_fits_schema(&seen);
}

/// Guarantee 6, and the cost of a thousand readiness calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_cost_one_request_that_is_not_billed() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let posthog = posthog.clone();
        calls.spawn(async move { posthog.health_check().await.is_healthy() });
    }
    assert!(calls.join_all().await.into_iter().all(|healthy| healthy));
    assert_eq!(server.request_count(Route::Flags), 1);
    assert_eq!(server.billable_flag_requests(), 0);
    let request = server.requests().remove(0);
    assert_eq!((request.path.as_str(), request.query.as_str()), ("/flags/", "v=2&config=false"));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body, json!({"api_key": FakePostHog::TOKEN, "disable_flags": true}));
}

#[tokio::test]
async fn nothing_is_sent_that_nobody_asked_for() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    let _ = (posthog.health(), posthog.stats());
    posthog.flush().await.unwrap();
    posthog.shutdown(MS(1000)).await;
    assert_eq!((server.requests().len(), server.connections_accepted()), (0, 0));
}

#[tokio::test]
async fn within_the_cache_period_nobody_is_asked_again_whatever_the_answer_was() {
    for (reply, is_healthy) in [(Reply::normal(), true), (Reply::status(503), false)] {
        let server = FakePostHog::start();
        server.flags().always(reply);
        let posthog = builder(&server).probe_cache(Duration::from_secs(3600)).build().unwrap();
        for _ in 0..5 {
            assert_eq!(posthog.health_check().await.is_healthy(), is_healthy);
        }
        assert_eq!(server.request_count(Route::Flags), 1);
    }
}

#[tokio::test]
async fn a_cached_answer_expires() {
    let server = FakePostHog::start();
    let posthog = builder(&server).probe_cache(MS(1)).build().unwrap();
    assert!(posthog.health_check().await.is_healthy());
    server.flags().always(Reply::status(503));
    let mut report = posthog.health_check().await;
    while report.is_healthy() {
        report = posthog.health_check().await;
    }
    assert_eq!(report.reasons, [Reason::ServerError]);
}

/// A readiness probe whose own timeout is shorter than ours must not make us ask again and again.
#[tokio::test]
async fn a_caller_who_gives_up_does_not_waste_the_answer() {
    let server = FakePostHog::start();
    server.flags().always(Reply::hang());
    let posthog = builder(&server).probe_timeout(MS(200)).build().unwrap();
    for _ in 0..5 {
        let _ = tokio::time::timeout(MS(5), posthog.health_check()).await;
    }
    let report = posthog.health_check().await;
    assert_eq!(report.reasons, [Reason::Unreachable]);
    assert_eq!(server.request_count(Route::Flags), 1);
}

#[tokio::test]
async fn each_failure_has_its_reason() {
    for (reply, reason) in [
        (Reply::status(401), Reason::Unauthorized),
        (Reply::status(403), Reason::WrongHost),
        (Reply::status(402), Reason::QuotaExceeded),
        (Reply::status(404), Reason::WrongHost),
        (Reply::status(400), Reason::WrongHost),
        (Reply::status(413), Reason::WrongHost),
        (Reply::html(), Reason::WrongHost),
        (Reply::redirect("https://elsewhere.example/"), Reason::WrongHost),
        (Reply::status(429), Reason::RateLimited),
        (Reply::status(500), Reason::ServerError),
        (Reply::status(503), Reason::ServerError),
        (Reply::hang(), Reason::Unreachable),
        (Reply::hang_after_headers(), Reason::Unreachable),
        (Reply::close(), Reason::Unreachable),
        (Reply::reset(), Reason::Unreachable),
        (Reply::truncated_body(), Reason::Unreachable),
    ] {
        let server = FakePostHog::start();
        server.flags().always(reply.clone());
        let posthog = builder(&server).probe_timeout(MS(100)).build().unwrap();
        let report = posthog.health_check().await;
        assert_eq!(report.reasons, [reason], "{reply:?}");
        assert_eq!(report.posthog.connected, Some(false));
        assert_fits_schema(&report);
    }
    let server = FakePostHog::start();
    server.refuse();
    let report = builder(&server).build().unwrap().health_check().await;
    assert_eq!(report.reasons, [Reason::Unreachable]);
    assert_eq!(
        report.posthog.error,
        Some(posthog_health::ErrorKind::Connect),
        "which of the ways to be away"
    );
    assert_fits_schema(&report);
}

/// The rest of such an answer never comes, so whoever waits for it runs into the timeout.
/// Capture takes the events of an unknown token and throws them away: only the probe can tell.
#[tokio::test]
async fn a_token_that_the_probe_finds_refused_stops_delivery_until_it_is_known() {
    let server = FakePostHog::start();
    server.forget_token(FakePostHog::TOKEN);
    let hour = Duration::from_secs(3600);
    let posthog =
        builder(&server).refusal_pause(hour).probe_cache(MS(1)).flush_timeout(MS(100)).build().unwrap();
    assert_eq!(posthog.health_check().await.reasons, [Reason::Unauthorized]);
    capture(&posthog, 100);
    assert!(posthog.flush().await.is_err());
    assert_eq!((server.request_count(Route::Batch), posthog.stats().queued), (0, 100));

    server.know_token(FakePostHog::TOKEN);
    while !posthog.health_check().await.is_healthy() {}
    posthog.flush().await.unwrap();
    assert_eq!((posthog.stats().delivered, server.distinct()), (100, 100));
}

/// What was under way when the probe found out is taken and thrown away; that is no recovery.
#[tokio::test]
async fn a_batch_that_was_under_way_does_not_end_that_pause() {
    let server = FakePostHog::start();
    server.batch().then(Reply::normal().delayed(MS(200)));
    let hour = Duration::from_secs(3600);
    let posthog = builder(&server).refusal_pause(hour).flush_timeout(MS(100)).build().unwrap();
    capture(&posthog, 100);
    server.wait_for_requests(Route::Batch, 1).await;
    server.forget_token(FakePostHog::TOKEN);
    assert_eq!(posthog.health_check().await.reasons, [Reason::Unauthorized]);
    until(|| posthog.stats().delivered == 100).await;
    capture(&posthog, 100);
    assert!(posthog.flush().await.is_err());
    assert_eq!((server.request_count(Route::Batch), posthog.stats().queued), (1, 100));
}

#[test]
fn a_probe_whose_runtime_ended_does_not_blind_the_next() {
    let server = FakePostHog::start();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let main = runtime();
    let posthog = main.block_on(async { builder(&server).build().unwrap() });
    server.flags().then(Reply::hang());
    let side = runtime();
    side.block_on(async {
        let _ = tokio::time::timeout(MS(50), posthog.health_check()).await;
    });
    drop(side);
    assert!(main.block_on(posthog.health_check()).is_healthy());
    assert_eq!(server.request_count(Route::Flags), 2);
}

#[tokio::test]
async fn a_report_about_rejected_events_fits_the_schema() {
    let server = FakePostHog::start();
    server.batch().always(Reply::status(400).body(format!("{} is wrong: no schema", FakePostHog::TOKEN)));
    let posthog = builder(&server).build().unwrap();
    capture(&posthog, 1);
    server.wait_for_requests(Route::Batch, 2).await;
    let report = posthog.health_check().await;
    assert_eq!(report.reasons, [Reason::RejectedEvents]);
    assert_fits_schema(&report);
    let answer = report.last_error.unwrap().answer;
    assert_eq!(answer.as_deref(), Some("[token] is wrong: no schema"), "one look says what is wrong");
}

#[tokio::test]
async fn an_answer_larger_than_any_of_posthogs_is_not_read_to_its_end() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n{}", "x".repeat(100_000));
            stream.write_all(answer.as_bytes()).await.unwrap();
            open.push(stream);
        }
    });
    let posthog = PostHog::builder(FakePostHog::TOKEN).host(host).build().unwrap();
    let report = posthog.health_check().await;
    assert!(report.is_healthy(), "{report}");
}

#[tokio::test]
async fn an_unknown_token_is_asked_about_twice_before_it_is_believed() {
    let server = FakePostHog::start();
    server.flags().then(Reply::status(401));
    let posthog = builder(&server).build().unwrap();
    assert!(posthog.health_check().await.is_healthy(), "a new token may be unknown for a moment");

    server.forget_token(FakePostHog::TOKEN);
    let report = builder(&server).build().unwrap().health_check().await;
    assert_eq!(report.reasons, [Reason::Unauthorized]);
    assert_eq!(server.request_count(Route::Flags), 4);
}

#[tokio::test]
async fn it_works_while_the_breaker_is_open_and_says_both() {
    let server = FakePostHog::start();
    server.batch().always(Reply::status(503));
    let hour = Duration::from_secs(3600);
    let breaker = support::breaker().open_time(hour, hour);
    let posthog = builder(&server).circuit_breaker(breaker).build().unwrap();
    capture(&posthog, 1_000);
    until(|| posthog.circuit_breaker().unwrap().state() == CircuitState::Open).await;
    let report = posthog.health_check().await;
    assert_eq!(report.posthog.connected, Some(true));
    assert_eq!(report.reasons, [Reason::ServerError, Reason::BreakerOpen]);
    assert_eq!(report.breaker.state, CircuitState::Open);
    assert!(report.breaker.retry_in.unwrap() > Duration::from_secs(2800));
    assert_eq!(report.last_error.as_ref().unwrap().status, Some(503));
    assert_fits_schema(&report);
    posthog.shutdown(MS(1)).await;
}

#[test]
fn the_end_of_the_runtime_is_told() {
    let server = FakePostHog::start();
    let posthog = client_without_runtime(&server);
    posthog.capture(support::event(0));
    let report = posthog.health();
    assert_eq!(report.reasons, [Reason::WorkerStopped]);
    assert_eq!(report.ledger.queued, 1);
}

#[tokio::test]
async fn a_disabled_client_is_degraded_and_asks_nobody() {
    let posthog = PostHog::builder("").disabled(true).build().unwrap();
    let report = posthog.health_check().await;
    assert_eq!((report.reasons.as_slice(), report.posthog.connected), (&[Reason::Disabled][..], Some(false)));
    assert_fits_schema(&report);
}

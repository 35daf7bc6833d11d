//! Alerts as a service sees them: over real sockets, from the first failure to the recovery.

#[path = "support/client.rs"]
mod support;

use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{
    AlertName, AlertTransition, AlertTransitions, AlertsConfig, ConfigError, PostHog, Severity,
};
use support::{MS, builder, capture, flush_lossy, until};

/// Resolves at once, so that a test need not wait for minutes.
fn alerts() -> AlertsConfig {
    AlertsConfig::default().resolve_after(MS(1))
}

/// Waits for these alerts to fire, or to resolve, in any order.
async fn wait_for(transitions: &mut AlertTransitions, firing: bool, names: &[AlertName]) {
    let mut missing = names.to_vec();
    while !missing.is_empty() {
        match transitions.next().await.unwrap() {
            AlertTransition::Firing(alert) if firing => missing.retain(|name| *name != alert.name),
            AlertTransition::Resolved(alert) if !firing => missing.retain(|name| *name != alert.name),
            _ => {}
        }
    }
}

fn names(posthog: &PostHog) -> Vec<AlertName> {
    posthog.alerts().iter().map(|alert| alert.name).collect()
}

#[tokio::test]
async fn an_outage_fires_and_the_recovery_resolves() {
    let server = FakePostHog::start();
    server.batch().always(Reply::status(503));
    let alerts = alerts().stalled(MS(100));
    let posthog = builder(&server).alerts(alerts).queue_events(1_000).build().unwrap();
    let mut transitions = posthog.subscribe_alerts();
    capture(&posthog, 1_100);
    let expected = [AlertName::ApiDown, AlertName::CircuitOpen, AlertName::Stalled, AlertName::LosingEvents];
    wait_for(&mut transitions, true, &expected).await;
    let report = posthog.health();
    let down = report.alerts.iter().find(|alert| alert.name == AlertName::ApiDown).unwrap();
    assert_eq!(down.severity, Severity::P1);
    assert!(report.alerts.is_sorted_by_key(|alert| alert.severity), "the most urgent first: {report}");
    assert!(down.detail.ends_with("last server (HTTP 503)"), "{down}");
    assert!(report.to_json().contains(r#""alerts":[{"name":"#), "{report}");
    assert!(report.to_json().contains(r#""runbook":"runbook.md#api-down"}"#), "{report}");
    assert!(report.to_json().contains(r#""runbook":"runbook.md#server_error"}"#), "{report}");
    server.recover();
    flush_lossy(&posthog).await;
    wait_for(&mut transitions, false, &[AlertName::CircuitOpen, AlertName::Stalled]).await;
    assert!(names(&posthog).contains(&AlertName::ApiDown), "its failures are of the last minute");
    posthog.shutdown(MS(10_000)).await;
    while transitions.next().await.is_some() {}
}

#[tokio::test]
async fn a_refused_token_a_quota_and_a_rate_limit_fire() {
    for (reply, name) in [
        (Reply::status(401), AlertName::AuthFailures),
        (Reply::status(402), AlertName::QuotaExceeded),
        (Reply::status(200).body(r#"{"status":"Ok","quota_limited":["events"]}"#), AlertName::QuotaExceeded),
        (Reply::status(429), AlertName::RateLimited),
        (Reply::reset(), AlertName::ApiDown),
        (Reply::html(), AlertName::ApiDown),
    ] {
        let server = FakePostHog::start();
        // The probe decides whose refusal a 401 is.
        server.always(reply);
        let alerts = alerts().api_down(0).rate_limited(0);
        let posthog = builder(&server).alerts(alerts).build().unwrap();
        capture(&posthog, 1);
        until(|| names(&posthog).contains(&name)).await;
        posthog.shutdown(MS(1)).await;
    }
}

/// Capture takes the events of an unknown token with a 200: only the probe can tell.
#[tokio::test]
async fn a_probe_that_finds_the_token_unknown_fires() {
    let server = FakePostHog::start();
    server.forget_token(FakePostHog::TOKEN);
    let posthog = builder(&server).build().unwrap();
    let mut transitions = posthog.subscribe_alerts();
    assert!(!posthog.health_check().await.is_healthy());
    wait_for(&mut transitions, true, &[AlertName::AuthFailures]).await;
}

/// What somebody asked to drop is not lost.
#[tokio::test]
async fn only_what_nobody_asked_to_drop_is_lost() {
    let server = FakePostHog::start();
    let posthog = builder(&server).before_send(|_| None).build().unwrap();
    let mut transitions = posthog.subscribe_alerts();
    capture(&posthog, 10);
    posthog.flush().await.unwrap();
    posthog.capture(posthog_health::Event::new("", "user"));
    let lost = transitions.next().await.unwrap();
    assert_eq!((lost.alert().name, posthog.stats().dropped.total()), (AlertName::LosingEvents, 11));
    assert_eq!(lost.alert().detail, "1 events lost within a minute");
}

#[test]
fn the_end_of_the_runtime_is_the_end_of_the_alerts() {
    let server = FakePostHog::start();
    server.always(Reply::status(401));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (posthog, mut transitions) = runtime.block_on(async {
        let posthog = builder(&server).build().unwrap();
        let mut transitions = posthog.subscribe_alerts();
        capture(&posthog, 1);
        wait_for(&mut transitions, true, &[AlertName::AuthFailures]).await;
        (posthog, transitions)
    });
    drop(runtime);
    assert_eq!(posthog.alerts(), []);
    let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
    other.block_on(async { while transitions.next().await.is_some() {} });
}

#[cfg(feature = "spool")]
#[tokio::test]
async fn a_full_spool_fires() {
    let directory = tempfile::tempdir().unwrap();
    let server = FakePostHog::start();
    server.always(Reply::status(503));
    let spool = posthog_health::SpoolConfig::at(directory.path()).max_bytes(1 << 20);
    let posthog = builder(&server).queue_events(1_000).spool(spool).build().unwrap();
    let mut transitions = posthog.subscribe_alerts();
    let filling = tokio::spawn({
        let posthog = posthog.clone();
        async move {
            loop {
                capture(&posthog, 100);
                tokio::time::sleep(MS(5)).await;
            }
        }
    });
    wait_for(&mut transitions, true, &[AlertName::SpoolFilling]).await;
    filling.abort();
    posthog.shutdown(MS(100)).await;
}

#[tokio::test]
async fn a_disabled_client_has_no_alerts_and_no_transitions() {
    let posthog = PostHog::builder("").disabled(true).build().unwrap();
    posthog.capture(support::event(0));
    assert_eq!(posthog.alerts(), []);
    assert_eq!(posthog.subscribe_alerts().next().await, None);
}

#[tokio::test]
async fn what_cannot_work_is_refused() {
    let zero = Duration::ZERO;
    let refused = |alerts| PostHog::builder("phc_token").alerts(alerts).build().unwrap_err();
    let field = |error: ConfigError| error.field();
    assert_eq!(field(refused(AlertsConfig::default().high_latency(zero))), "alerts.high_latency");
    assert_eq!(field(refused(AlertsConfig::default().stalled(zero))), "alerts.stalled");
    assert_eq!(field(refused(AlertsConfig::default().resolve_after(zero))), "alerts.resolve_after");
}

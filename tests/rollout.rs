//! The verdict on a rollout, as a canary gives it.

#[path = "support/client.rs"]
mod support;

use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{AlertName, PostHog, RolloutConfig, RolloutReason, RolloutVerdict, Severity};
use support::{MS, builder, capture, client_without_runtime, flush_lossy, reject, until};

fn canary(server: &FakePostHog) -> posthog_health::PostHogBuilder {
    builder(server).batch_events(1).rollout(RolloutConfig::default().min_attempts(10))
}

#[tokio::test]
async fn enough_traffic_that_is_well_proceeds_and_less_holds() {
    let server = FakePostHog::start();
    let posthog = canary(&server).build().unwrap();
    capture(&posthog, 9);
    posthog.flush().await.unwrap();
    let too_little = RolloutReason::TooLittleTraffic { attempts: 9, needed: 10 };
    assert_eq!(posthog.rollout_verdict(), RolloutVerdict::Hold(vec![too_little]));
    capture(&posthog, 1);
    posthog.flush().await.unwrap();
    assert_eq!(posthog.rollout_verdict(), RolloutVerdict::Proceed);
    assert_eq!(posthog.rollout_verdict().reasons(), []);
    posthog.shutdown(MS(10_000)).await;
    assert_eq!(posthog.rollout_verdict(), RolloutVerdict::Hold(vec![RolloutReason::NotRunning]));
}

#[tokio::test]
async fn an_outage_rolls_back() {
    let server = FakePostHog::start();
    let posthog = canary(&server).build().unwrap();
    capture(&posthog, 20);
    posthog.flush().await.unwrap();
    assert_eq!(posthog.rollout_verdict(), RolloutVerdict::Proceed);
    server.always(Reply::status(503));
    capture(&posthog, 20);
    until(|| matches!(posthog.rollout_verdict(), RolloutVerdict::Rollback(_))).await;
    let down = RolloutReason::Alert { name: AlertName::ApiDown, severity: Severity::P1 };
    until(|| posthog.rollout_verdict().reasons().contains(&down)).await;
    let json = serde_json::to_value(posthog.rollout_verdict()).unwrap();
    assert_eq!((&json["verdict"], &json["reasons"][0]["code"]), (&"rollback".into(), &"api_down".into()));
    assert_eq!(json["reasons"][0]["detail"], "the P1 alert API Down fires");
    posthog.shutdown(MS(1)).await;
}

/// What PostHog does not take is this version's doing.
#[tokio::test]
async fn events_that_are_rejected_or_lost_roll_back() {
    let server = FakePostHog::start();
    let posthog = canary(&server).build().unwrap();
    server.reject_events_named(&["poison"]);
    reject(&posthog, posthog_health::Event::new("poison", "user")).await;
    capture(&posthog, 20);
    flush_lossy(&posthog).await;
    let rejected = RolloutVerdict::Rollback(vec![RolloutReason::RejectedEvents(1)]);
    until(|| posthog.rollout_verdict() == rejected).await;
    posthog.capture(posthog_health::Event::new("", "user"));
    until(|| posthog.rollout_verdict().reasons().contains(&RolloutReason::LostEvents(1))).await;
}

#[test]
fn a_worker_that_is_gone_rolls_back() {
    let server = FakePostHog::start();
    let posthog = client_without_runtime(&server);
    assert_eq!(posthog.rollout_verdict(), RolloutVerdict::Rollback(vec![RolloutReason::WorkerStopped]));
}

#[tokio::test]
async fn a_disabled_client_cannot_be_judged() {
    let posthog = PostHog::builder("").disabled(true).build().unwrap();
    assert_eq!(posthog.rollout_verdict(), RolloutVerdict::Hold(vec![RolloutReason::NotRunning]));
}

#[tokio::test]
async fn what_cannot_work_is_refused() {
    for (rollout, field) in [
        (RolloutConfig::default().window(MS(1)), "rollout.window"),
        (RolloutConfig::default().window(MS(601_000)), "rollout.window"),
        (RolloutConfig::default().min_attempts(0), "rollout.min_attempts"),
        (RolloutConfig::default().max_error_rate(1.1), "rollout.max_error_rate"),
        (RolloutConfig::default().max_losses(-0.1), "rollout.max_losses"),
    ] {
        let error = PostHog::builder("phc_token").rollout(rollout).build().unwrap_err();
        assert_eq!(error.field(), field);
    }
}

//! At which threshold each alert fires.

use tower::{Layer, ServiceExt, service_fn};

use super::*;
use crate::delivery::{Snapshot, SpoolHealth, SpoolState};
use crate::layers::CircuitState;
use crate::monitor::{rules, throughput, traffic};

/// Each alert of the checklist fires within a second above its threshold, not at it, and resolves.
#[tokio::test(start_paused = true)]
async fn each_alert_fires_above_its_threshold_and_not_one_below() {
    let counted = [
        (ApiDown, Kind::Server, 10, Severity::P1),
        (ApiDown, Kind::Timeout, 10, Severity::P1),
        (ApiDown, Kind::Connect, 10, Severity::P1),
        (ApiDown, Kind::WrongHost, 10, Severity::P1),
        (RateLimited, Kind::RateLimited, 5, Severity::P2),
        (AuthFailures, Kind::Unauthorized, 0, Severity::P1),
        (AuthFailures, Kind::Forbidden, 0, Severity::P1),
        (QuotaExceeded, Kind::QuotaExceeded, 0, Severity::P2),
    ];
    for (name, kind, threshold, severity) in counted {
        let mut harness = Harness::start(AlertsConfig::default()).await;
        harness.fail(threshold, kind);
        assert_eq!(harness.changes().await, [], "{name} at {threshold}");
        harness.fail(1, kind);
        assert_eq!(harness.changes().await, [(name, true)], "{name} above {threshold}");
        let alert = harness.monitor.alerts().remove(0);
        assert_eq!((alert.severity, alert.surface), (severity, Surface::Capture));
        let (count, last) = (threshold + 1, kind.as_str());
        let seen = format!(": {count} within a minute, more than {threshold}, last {last}");
        assert!(alert.detail.ends_with(&seen) && alert.detail.len() > seen.len() + 10, "{}", alert.detail);
        harness.succeed(1);
        // A minute until they are out of the count, five more to be sure.
        let (seconds, resolved, fires) = harness.next().await;
        assert_eq!((resolved, fires), (name, false));
        assert!((356..=362).contains(&seconds), "{name} after {seconds} s");
        assert_eq!(harness.firing(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn high_latency_is_the_99th_percentile_above_five_seconds() {
    let slow = Duration::from_millis(5_001);
    let ok = Ok(&Accepted { over_quota: false });
    let mut harness = Harness::start(AlertsConfig::default()).await;
    harness.attempts(100, Duration::from_secs(5), ok);
    assert_eq!(harness.changes().await, [], "exactly five seconds is not above");
    harness.succeed(197);
    harness.attempts(3, slow, ok);
    assert_eq!(harness.changes().await, [], "one in a hundred is allowed");
    harness.attempts(1, slow, ok);
    assert_eq!(harness.changes().await, [(HighLatency, true)]);
    let detail = harness.monitor.alerts().remove(0).detail;
    assert!(detail.starts_with("slow attempts: 4 of 301 took more than 5s"), "{detail}");
    harness.succeed(1);
    let (seconds, resolved, fires) = harness.next().await;
    assert_eq!((resolved, fires), (HighLatency, false));
    assert!((596..=602).contains(&seconds), "five minutes out of the count, five to be sure: {seconds}");
}

/// A hanging server behind a breaker gets too few attempts for a rate.
#[tokio::test(start_paused = true)]
async fn what_goes_on_for_a_minute_fires_however_rarely_it_is_tried() {
    let mut harness = Harness::start(AlertsConfig::default()).await;
    harness.fail(2, Kind::Timeout);
    let (seconds, name, fires) = harness.next().await;
    assert_eq!((name, fires), (ApiDown, true));
    assert!((59..=61).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn one_failure_or_one_slow_request_at_night_does_not_page() {
    let mut harness = Harness::start(AlertsConfig::default()).await;
    harness.fail(1, Kind::RateLimited);
    harness.attempts(2, Duration::from_secs(9), Ok(&Accepted { over_quota: false }));
    sleep(SECOND * 3600).await;
    harness.fail(1, Kind::Server);
    sleep(SECOND * 3600).await;
    assert_eq!(harness.changes().await, []);
    harness.fail(1, Kind::Server);
    assert_eq!(
        harness.changes().await,
        [(ApiDown, true)],
        "but twice, without a success in between, is an outage"
    );
}

#[tokio::test(start_paused = true)]
async fn an_over_quota_answer_is_no_success() {
    let mut harness = Harness::start(AlertsConfig::default()).await;
    harness.attempts(1, FAST, Ok(&Accepted { over_quota: true }));
    assert_eq!(harness.changes().await, [(QuotaExceeded, true)]);
    sleep(SECOND * 3600).await;
    assert_eq!(harness.firing(), [QuotaExceeded]);
}

#[tokio::test(start_paused = true)]
async fn any_lost_event_fires_and_one_that_was_not_wanted_does_not() {
    let mut harness = Harness::start(AlertsConfig::default()).await;
    harness.queue.refuse(crate::DropReason::NoName, None);
    assert_eq!(harness.changes().await, [(LosingEvents, true)]);
    let (seconds, name, fires) = harness.next().await;
    assert_eq!((name, fires), (LosingEvents, false));
    assert!((359..=361).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn the_circuit_breaker_fires_while_it_is_not_closed() {
    let mut harness = Harness::start(AlertsConfig::default()).await;
    let service = harness.breaker.layer(service_fn(|kind: Option<Kind>| async move {
        kind.map_or(Ok(Accepted { over_quota: false }), |kind| Err(Error::new(kind)))
    }));
    for _ in 0..5 {
        assert!(service.clone().oneshot(Some(Kind::Server)).await.is_err());
    }
    assert_eq!(harness.changes().await, [(CircuitOpen, true)]);
    // The breaker's clock is real.
    while service.clone().oneshot(None).await.is_err() {
        tokio::task::yield_now().await;
    }
    let (seconds, name, fires) = harness.next().await;
    assert_eq!((name, fires), (CircuitOpen, false));
    assert!((299..=301).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn events_that_wait_for_five_minutes_are_stalled() {
    let mut harness = Harness::start(AlertsConfig::default().off(LosingEvents)).await;
    sleep(SECOND * 3600).await;
    assert_eq!(harness.changes().await, [], "nothing waits");
    harness.queue.enter("{}".into(), None);
    let (seconds, name, fires) = harness.next().await;
    assert_eq!((name, fires), (Stalled, true));
    assert!((299..=301).contains(&seconds), "{seconds}");
    harness.queue.abandon();
    let (seconds, name, fires) = harness.next().await;
    assert_eq!((name, fires), (Stalled, false));
    assert!((299..=301).contains(&seconds), "{seconds}");
}

/// A spool that does not grow is no alert, however full it is.
#[tokio::test(start_paused = true)]
async fn a_spool_that_will_be_full_within_the_hour_fires() {
    let start = Instant::now();
    let config = AlertsConfig::default();
    let traffic = Surface::ALL.map(|_| traffic::Traffic::new(start, SECOND));
    let throughput = throughput::Throughput::new(start);
    let reasons = |state, full_in: Option<u64>| {
        let spool = SpoolHealth {
            state,
            issue: None,
            events: 1,
            bytes: 900,
            capacity_bytes: 1_000,
            file_bytes: 2_000,
            full_in: full_in.map(Duration::from_secs),
        };
        let view = rules::View {
            now: start,
            snapshot: &Snapshot { spool: Some(spool), ..Snapshot::default() },
            breakers: [CircuitState::Closed; 2],
            traffic: &traffic,
            throughput: &throughput,
        };
        rules::conditions(&config, &view).into_iter().map(|condition| condition.name).collect::<Vec<_>>()
    };
    assert_eq!(reasons(SpoolState::Ready, None), []);
    assert_eq!(reasons(SpoolState::Ready, Some(3_600)), []);
    assert_eq!(reasons(SpoolState::Ready, Some(3_599)), [SpoolFilling]);
    assert_eq!(reasons(SpoolState::Full, None), [SpoolFilling]);
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_is_off_does_not_fire_and_thresholds_are_kept() {
    let alerts = AlertsConfig::default()
        .off(AuthFailures)
        .api_down(1)
        .severity(ApiDown, Severity::P2)
        .resolve_after(SECOND * 10);
    let mut harness = Harness::start(alerts).await;
    harness.fail(5, Kind::Unauthorized);
    harness.fail(1, Kind::Server);
    assert_eq!(harness.changes().await, []);
    harness.fail(1, Kind::Server);
    assert_eq!(harness.changes().await, [(ApiDown, true)]);
    assert_eq!(harness.monitor.alerts()[0].severity, Severity::P2);
    harness.succeed(1);
    let (seconds, ..) = harness.next().await;
    assert!((66..=72).contains(&seconds), "{seconds}");
}

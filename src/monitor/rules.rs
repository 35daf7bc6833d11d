//! The alerts' conditions: pure functions of what a sample saw.

use std::time::Duration;

use tokio::time::Instant;

use super::throughput::Throughput;
use super::traffic::{Streak, Traffic};
use super::{AlertName, AlertsConfig, Failure, Surface};
use crate::delivery::{Snapshot, SpoolHealth, SpoolState};
use crate::error::AlertCause;
use crate::layers::CircuitState;

/// What one sample saw. Conditions and metrics read the same view, so that they never contradict each other.
pub struct View<'a> {
    pub now: Instant,
    pub snapshot: &'a Snapshot,
    /// One for each surface, as the traffic.
    pub breakers: [CircuitState; Surface::ALL.len()],
    pub traffic: &'a [Traffic; Surface::ALL.len()],
    pub throughput: &'a Throughput,
}

/// A reason for an alert.
#[derive(Debug, PartialEq, Eq)]
pub struct Condition {
    pub surface: Surface,
    pub name: AlertName,
    pub effect: Effect,
    pub detail: String,
}

/// What a condition does to its alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Makes it fire.
    Fire,
    /// Keeps it firing, but does not make it fire: there was no success since the last failure.
    Sustain,
}

/// A spool that will be full before that is an alert, and a reason of a degraded report: an hour is time to act.
pub const SPOOL_FULL_SOON: Duration = Duration::from_secs(3600);

/// The window of the rates. The checklist counts per minute.
const MINUTE: Duration = Duration::from_secs(60);

/// A p99 needs more attempts than most services make in a minute.
const LATENCY_WINDOW: Duration = Duration::from_secs(300);

/// One slow request at night is no trend.
const FEWEST_SLOW: u32 = 3;

/// Returns all conditions that hold, including those of alerts that are off.
pub fn conditions(config: &AlertsConfig, view: &View<'_>) -> Vec<Condition> {
    let of_surface = |surface: Surface| {
        let mut found = traffic_conditions(config, &view.traffic[surface as usize], view.now);
        if view.breakers[surface as usize] != CircuitState::Closed {
            let detail = "requests pause while PostHog fails".to_owned();
            found.push((AlertName::CircuitOpen, (Effect::Fire, detail)));
        }
        if surface == Surface::Capture {
            found.extend(delivery_conditions(config, view));
        }
        found.into_iter().map(move |(name, (effect, detail))| Condition { surface, name, effect, detail })
    };
    Surface::ALL.into_iter().flat_map(of_surface).collect()
}

type Reason = (Effect, String);

fn traffic_conditions(config: &AlertsConfig, traffic: &Traffic, now: Instant) -> Vec<(AlertName, Reason)> {
    use AlertName::*;
    let minute = traffic.within(now, MINUTE);
    // The alert, its cause, what it counts, how many it tolerates within a minute, and the shortest streak that is an
    // outage.
    let counted = [
        (ApiDown, AlertCause::ApiDown, "failed attempts", config.failures, 2),
        (RateLimited, AlertCause::RateLimited, "answers that ask for fewer requests", config.throttled, 2),
        (AuthFailures, AlertCause::AuthFailures, "refusals of the token", config.unauthorized, 1),
        // Each of these answers costs a batch, so none is tolerated.
        (QuotaExceeded, AlertCause::QuotaExceeded, "answers that say over quota", 0, 1),
    ];
    let counted = counted.into_iter().filter_map(|(name, cause, what, limit, shortest)| {
        let (count, streak) = (minute.of(cause), traffic.streak(cause));
        let (effect, detail) = if count > u64::from(limit) {
            (Effect::Fire, format!("{what}: {count} within a minute, more than {limit}"))
        } else {
            unbroken_streak(streak?, what, shortest, now)
        };
        Some((name, (effect, detail + &last_error(traffic, cause).unwrap_or_default())))
    });
    let slow = high_latency(config, traffic, now).or_else(|| {
        let streak = traffic.streak(AlertCause::HighLatency)?;
        Some(unbroken_streak(streak, "slow attempts", FEWEST_SLOW, now))
    });
    counted.chain(slow.map(|reason| (HighLatency, reason))).collect()
}

/// A streak of failures without a success. It fires after a minute, however few attempts were made: an open breaker, a
/// paused limiter and a refused token let few attempts through, and must not silence the alert.
fn unbroken_streak(streak: Streak, what: &str, shortest: u32, now: Instant) -> Reason {
    let Streak { since, length } = streak;
    let time = now.saturating_duration_since(since);
    let fires = length >= shortest && time >= MINUTE;
    let effect = if fires { Effect::Fire } else { Effect::Sustain };
    (effect, format!("{what}: {length} within {} s and no success", time.as_secs()))
}

/// The p99 is too high when more than one attempt in a hundred is slow. Counting is exact; a percentile is an estimate.
fn high_latency(config: &AlertsConfig, traffic: &Traffic, now: Instant) -> Option<Reason> {
    let seen = traffic.within(now, LATENCY_WINDOW);
    let (slow, attempts, limit) = (seen.of(AlertCause::HighLatency), seen.attempts, config.latency);
    (slow >= u64::from(FEWEST_SLOW) && slow * 100 > attempts).then(|| {
        let p99 = traffic.p99(now, LATENCY_WINDOW).unwrap_or_default();
        let detail = format!(
            "slow attempts: {slow} of {attempts} took more than {limit:?} within 5 minutes, p99 {p99:?}"
        );
        (Effect::Fire, detail)
    })
}

fn delivery_conditions(config: &AlertsConfig, view: &View<'_>) -> impl Iterator<Item = (AlertName, Reason)> {
    use AlertName::*;
    let View { throughput, now, .. } = *view;
    let lost = throughput.within(now, MINUTE).all_lost();
    let losing = (lost > config.lost).then(|| format!("{lost} events lost within a minute"));
    let filling = view.snapshot.spool.and_then(spool_filling);
    let (waiting, stalled_for) = (throughput.waiting, throughput.stalled_for(now));
    let is_stalled = waiting > 0 && stalled_for >= config.stalled_after;
    let stalled = is_stalled
        .then(|| format!("{waiting} events wait, none was delivered for {} s", stalled_for.as_secs()));
    let all = [(LosingEvents, losing), (SpoolFilling, filling), (Stalled, stalled)];
    all.into_iter().filter_map(|(name, detail)| Some((name, (Effect::Fire, detail?))))
}

fn spool_filling(spool: SpoolHealth) -> Option<String> {
    let SpoolHealth { bytes, capacity_bytes, .. } = spool;
    if spool.state == SpoolState::Full {
        return Some(format!("the spool is full, {bytes} of {capacity_bytes} bytes"));
    }
    let time = spool.full_in.filter(|time| *time < SPOOL_FULL_SOON)?;
    Some(format!("the spool holds {bytes} of {capacity_bytes} bytes and is full in {} s", time.as_secs()))
}

/// The words for the latest error, if this is its cause.
fn last_error(traffic: &Traffic, cause: AlertCause) -> Option<String> {
    let Failure { kind, status } = traffic.summary.error?.what;
    let status = status.map_or(String::new(), |status| format!(" (HTTP {status})"));
    (kind.meaning().alert == Some(cause)).then(|| format!(", last {}{status}", kind.as_str()))
}

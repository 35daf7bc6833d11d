//! The alerts' conditions: pure functions of what was seen.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::cause::Cause;
use super::traffic::{Counts, Traffic};
use super::{AlertName, AlertsConfig, Surface};
use crate::delivery::{SpoolHealth, SpoolState};
use crate::layers::CircuitState;

/// What the conditions are judged by.
pub(super) struct View<'a> {
    pub(super) now: Instant,
    pub(super) traffic: &'a [Traffic; Surface::ALL.len()],
    /// By surface.
    pub(super) breakers: [CircuitState; Surface::ALL.len()],
    /// Within a minute.
    pub(super) lost: u64,
    pub(super) spool: Option<SpoolHealth>,
    /// Events that wait, and for how long there have been some and none was delivered.
    pub(super) waiting: u64,
    pub(super) stalled_for: Duration,
}

/// A reason for an alert.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) surface: Surface,
    pub(super) name: AlertName,
    pub(super) strength: Strength,
    pub(super) detail: String,
}

/// What a reason is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strength {
    /// To fire.
    Fires,
    /// To go on firing: there was no success since the last failure.
    Stays,
}

pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// A p99 needs more attempts than most services make in a minute.
const LATENCY_WINDOW: Duration = Duration::from_secs(300);

/// One slow request at night is no trend.
const FEWEST_SLOW: u32 = 3;

/// All reasons for alerts, those that are off included.
pub(super) fn conditions(config: &AlertsConfig, view: &View<'_>) -> Vec<Condition> {
    let of_traffic = Surface::ALL.into_iter().flat_map(|surface| {
        let found = of_traffic(config, &view.traffic[surface as usize], view.now);
        let is_open = view.breakers[surface as usize] != CircuitState::Closed;
        let open = is_open.then(|| "requests pause while PostHog fails".to_owned());
        let open = open.map(|detail| (AlertName::CircuitOpen, (Strength::Fires, detail)));
        found.into_iter().chain(open).map(move |(name, (strength, detail))| Condition {
            surface,
            name,
            strength,
            detail,
        })
    });
    let of_delivery = of_delivery(config, view).into_iter().map(|(name, detail)| Condition {
        surface: Surface::Capture,
        name,
        strength: Strength::Fires,
        detail,
    });
    of_traffic.chain(of_delivery).collect()
}

type Reason = (Strength, String);

fn of_traffic(config: &AlertsConfig, traffic: &Traffic, now: Instant) -> Vec<(AlertName, Reason)> {
    use AlertName::*;
    let minute = traffic.within(now, MINUTE);
    let counted = [
        (ApiDown, Cause::Unavailable, config.failures, 2),
        (RateLimited, Cause::Throttled, config.throttled, 2),
        (AuthFailures, Cause::Unauthorized, config.unauthorized, 1),
        (QuotaExceeded, Cause::Quota, config.over_quota, 1),
    ];
    let counted = counted.into_iter().filter_map(|(name, cause, limit, fewest)| {
        let reason = over(minute, cause, limit).or_else(|| standing(traffic, cause, fewest, now));
        let (strength, detail) = reason?;
        Some((name, (strength, format!("{detail}{}", Last(traffic, cause)))))
    });
    let slow = too_slow(config, traffic, now).or_else(|| standing(traffic, Cause::Slow, FEWEST_SLOW, now));
    counted.chain(slow.map(|reason| (HighLatency, reason))).collect()
}

fn over(minute: Counts, cause: Cause, limit: u32) -> Option<Reason> {
    let count = minute.of(cause);
    (count > u64::from(limit))
        .then(|| (Strength::Fires, format!("{}: {count} within a minute, more than {limit}", cause.plural())))
}

/// What has not been ended by a success. It fires when it has gone on for a minute, however rarely it was tried.
fn standing(traffic: &Traffic, cause: Cause, fewest: u32, now: Instant) -> Option<Reason> {
    let streak = traffic.streak(cause)?;
    let time = now.saturating_duration_since(streak.since);
    let fires = streak.length >= fewest && time >= MINUTE;
    let strength = if fires { Strength::Fires } else { Strength::Stays };
    let (length, what) = (streak.length, cause.plural());
    Some((strength, format!("{what}: {length} within {} s and no success", time.as_secs())))
}

fn too_slow(config: &AlertsConfig, traffic: &Traffic, now: Instant) -> Option<Reason> {
    let seen = traffic.within(now, LATENCY_WINDOW);
    let (slow, attempts, limit) = (seen.of(Cause::Slow), seen.attempts, config.latency);
    (slow >= u64::from(FEWEST_SLOW) && slow * 100 > attempts).then(|| {
        let p99 = traffic.p99(now, LATENCY_WINDOW).unwrap_or_default();
        let detail = format!(
            "slow attempts: {slow} of {attempts} took more than {limit:?} within 5 minutes, p99 {p99:?}"
        );
        (Strength::Fires, detail)
    })
}

fn of_delivery(config: &AlertsConfig, view: &View<'_>) -> Vec<(AlertName, String)> {
    use AlertName::*;
    let lost = (view.lost > config.lost).then(|| format!("{} events lost within a minute", view.lost));
    let filling = view.spool.and_then(|spool| filling(config, spool));
    let is_stalled = view.waiting > 0 && view.stalled_for >= config.stalled_after;
    let stalled = is_stalled.then(|| {
        format!("{} events wait, none was delivered for {} s", view.waiting, view.stalled_for.as_secs())
    });
    let all = [(LosingEvents, lost), (SpoolFilling, filling), (Stalled, stalled)];
    all.into_iter().filter_map(|(name, detail)| Some((name, detail?))).collect()
}

fn filling(config: &AlertsConfig, spool: SpoolHealth) -> Option<String> {
    let SpoolHealth { bytes, capacity_bytes, .. } = spool;
    if spool.state == SpoolState::Full {
        return Some(format!("the spool is full, {bytes} of {capacity_bytes} bytes"));
    }
    let time = spool.full_in.filter(|time| *time < config.spool_full_in)?;
    Some(format!("the spool holds {bytes} of {capacity_bytes} bytes and is full in {} s", time.as_secs()))
}

/// The latest error, in a word, if it is one of this cause.
struct Last<'a>(&'a Traffic, Cause);

impl fmt::Display for Last<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = self.0.signs().error.map(|error| error.what);
        let Some(error) = error.filter(|error| Cause::of(error.kind) == Some(self.1)) else { return Ok(()) };
        write!(f, ", last {}", error.kind.as_str())?;
        error.status.map_or(Ok(()), |status| write!(f, " (HTTP {status})"))
    }
}

//! Judges whether a rollout may go on. Pure.

mod config;
#[cfg(test)]
mod tests;
mod verdict;

use std::time::Duration;

use super::{Alert, Severity};
pub use config::RolloutConfig;
pub use verdict::{RolloutReason, RolloutVerdict};

/// What happened within the window, and the alerts that fire now.
#[derive(Clone, Debug)]
pub struct Observations {
    pub alerts: Vec<Alert>,
    pub attempts: u64,
    pub failed: u64,
    pub p99: Option<Duration>,
    pub delivered: u64,
    pub lost: u64,
    pub dead_lettered: u64,
}

/// A single failed request happens to every version.
const FEWEST_FAILED: u64 = 3;

/// Judges a client that is running.
pub fn verdict(config: &RolloutConfig, max_p99: Duration, seen: Observations) -> RolloutVerdict {
    let Observations { alerts, attempts, failed, p99, delivered, lost, dead_lettered } = seen;
    let alerts = |severity| {
        let of_it = alerts.iter().filter(move |alert| alert.severity == severity);
        of_it.map(move |alert| RolloutReason::Alert { name: alert.name, severity })
    };
    let enough = attempts >= config.attempts;
    let failing = failed >= FEWEST_FAILED && failed as f64 > attempts as f64 * config.error_rate;
    let slow = p99.filter(|p99| *p99 > max_p99);
    let too_many = |events: u64| events as f64 > (delivered + lost + dead_lettered) as f64 * config.losses;
    let rollback: Vec<_> = alerts(Severity::P1)
        .chain((lost > 0 && too_many(lost)).then_some(RolloutReason::LostEvents(lost)))
        .chain(
            (dead_lettered > 0 && too_many(dead_lettered))
                .then_some(RolloutReason::RejectedEvents(dead_lettered)),
        )
        .chain((enough && failing).then_some(RolloutReason::ErrorRate { failed, attempts }))
        .chain(slow.filter(|_| enough).map(|p99| RolloutReason::Latency { p99 }))
        .collect();
    if !rollback.is_empty() {
        return RolloutVerdict::Rollback(rollback);
    }
    let too_little = RolloutReason::TooLittleTraffic { attempts, needed: config.attempts };
    let hold: Vec<_> = alerts(Severity::P2).chain((!enough).then_some(too_little)).collect();
    if hold.is_empty() { RolloutVerdict::Proceed } else { RolloutVerdict::Hold(hold) }
}

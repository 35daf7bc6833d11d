//! Whether a rollout may go on: judgement only.

mod config;
#[cfg(test)]
mod tests;
mod verdict;

use std::time::Duration;

use super::{Alert, Severity};
pub use config::RolloutConfig;
pub use verdict::{RolloutReason, RolloutVerdict};

/// What happened within the window, and what is now.
#[derive(Clone, Debug)]
pub(super) struct Observations {
    pub(super) alerts: Vec<Alert>,
    pub(super) attempts: u64,
    pub(super) failed: u64,
    pub(super) p99: Option<Duration>,
    pub(super) delivered: u64,
    pub(super) lost: u64,
    pub(super) buried: u64,
}

const FEWEST_FAILED: u64 = 3;

/// The verdict on a client that runs.
pub(super) fn verdict(config: &RolloutConfig, seen: Observations) -> RolloutVerdict {
    let Observations { alerts, attempts, failed, p99, delivered, lost, buried } = seen;
    let alerts = |severity| {
        let of_it = alerts.iter().filter(move |alert| alert.severity == severity);
        of_it.map(move |alert| RolloutReason::Alert { name: alert.name, severity })
    };
    let enough = attempts >= config.attempts;
    let failing = failed >= FEWEST_FAILED && failed as f64 > attempts as f64 * config.error_rate;
    let slow = p99.filter(|p99| *p99 > config.p99);
    let too_many = |events: u64| events as f64 > (delivered + lost + buried) as f64 * config.losses;
    let rollback: Vec<_> = alerts(Severity::P1)
        .chain((lost > 0 && too_many(lost)).then_some(RolloutReason::LostEvents(lost)))
        .chain((buried > 0 && too_many(buried)).then_some(RolloutReason::RejectedEvents(buried)))
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

//! Whether the timeouts contradict each other. Judgement only.

use std::time::Duration;

use super::check::Finding;
use super::integration::Deployment;
use crate::config::Settings;
use crate::monitor::AlertName;

/// The times that meet in a deployment or an outage.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    linger: Duration,
    request: Duration,
    probe: Duration,
    longest_retry_after: Duration,
    stalled: Option<Duration>,
    shutdown: Duration,
    grace: Option<Duration>,
}

impl Timeouts {
    pub fn of(settings: &Settings, deployment: Deployment) -> Self {
        let alerts = &settings.alerts;
        Self {
            linger: settings.pacing.linger,
            request: settings.request_timeout,
            probe: settings.probe_timeout,
            longest_retry_after: settings.longest_retry_after,
            stalled: alerts.severity_of(AlertName::Stalled).map(|_| alerts.stalled_after),
            shutdown: deployment.shutdown,
            grace: deployment.grace_period,
        }
    }
}

/// Between the end of `shutdown` and the end of the process.
const TO_SPARE: Duration = Duration::from_secs(2);

pub fn judge(timeouts: &Timeouts) -> Finding {
    let &Timeouts { linger, request, probe, longest_retry_after, stalled, shutdown, grace } = timeouts;
    match grace {
        Some(grace) if shutdown > grace => {
            return Finding::fail(
                format!("shutdown takes up to {shutdown:?}, and the process is killed after {grace:?}"),
                "give shutdown() less time, or the orchestrator more (terminationGracePeriodSeconds)",
            );
        }
        Some(grace) if grace.saturating_sub(shutdown) < TO_SPARE => {
            return Finding::warn(
                format!(
                    "shutdown takes up to {shutdown:?} of {grace:?}: nothing is left for the requests under way"
                ),
                "leave 2 s at least: a shorter shutdown() or a longer grace period",
            );
        }
        _ => {}
    }
    if linger >= request {
        return Finding::warn(
            format!("events linger for {linger:?}, longer than a request may take ({request:?})"),
            "linger: 1 s is the default, and batches are full long before under load",
        );
    }
    if probe > request {
        return Finding::warn(
            format!("a health probe may take {probe:?}, longer than a request ({request:?})"),
            "probe_timeout: 2 s is the default, and readiness probes wait little longer",
        );
    }
    if let Some(stalled) = stalled.filter(|stalled| *stalled < longest_retry_after) {
        return Finding::warn(
            format!(
                "the alert Stalled fires after {stalled:?}, while a Retry-After of {longest_retry_after:?} is kept"
            ),
            "alerts.stalled: not below longest_retry_after",
        );
    }
    let seen = format!("linger {linger:?} < request {request:?}, probe {probe:?}, shutdown {shutdown:?}");
    Finding::pass(match grace {
        Some(grace) => format!("{seen} < grace period {grace:?}"),
        None => format!("{seen}; the grace period was not named"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::CheckStatus::{Fail, Pass, Warn};

    const S: fn(u64) -> Duration = Duration::from_secs;
    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn timeouts_against_each_other() {
        let good = Timeouts {
            linger: S(1),
            request: S(10),
            probe: S(2),
            longest_retry_after: S(300),
            stalled: Some(S(300)),
            shutdown: S(5),
            grace: Some(S(7)),
        };
        let rows = [
            (good, Pass),
            (Timeouts { grace: None, ..good }, Pass),
            (Timeouts { grace: Some(MS(6_999)), ..good }, Warn),
            (Timeouts { grace: Some(S(5)), ..good }, Warn),
            (Timeouts { grace: Some(MS(4_999)), ..good }, Fail),
            (Timeouts { linger: S(10), ..good }, Warn),
            (Timeouts { linger: MS(9_999), ..good }, Pass),
            (Timeouts { probe: S(10), ..good }, Pass),
            (Timeouts { probe: S(11), ..good }, Warn),
            (Timeouts { stalled: Some(S(299)), ..good }, Warn),
            (Timeouts { stalled: None, ..good }, Pass),
        ];
        for (timeouts, status) in rows {
            assert_eq!(judge(&timeouts).status, status, "{timeouts:?}");
        }
    }
}

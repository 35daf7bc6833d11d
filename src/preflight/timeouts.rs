//! Whether the timeouts contradict each other. Judgement only.

use std::time::Duration;

use super::check::Finding;
use super::integration::Deployment;
use crate::config::Settings;
use crate::delivery::Pacing;
use crate::monitor::AlertName;

/// Between the end of `shutdown` and the end of the process.
const TO_SPARE: Duration = Duration::from_secs(2);

pub fn judge(settings: &Settings, deployment: Deployment) -> Finding {
    let &Settings {
        pacing: Pacing { linger, .. },
        request_timeout: request,
        probe_timeout: probe,
        longest_retry_after,
        ref alerts,
        ..
    } = settings;
    let Deployment { grace_period: grace, shutdown, .. } = deployment;
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
    let stalled = alerts.stalled_after;
    if alerts.severity_of(AlertName::Stalled).is_some() && stalled < longest_retry_after {
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
    use crate::monitor::AlertsConfig;
    use crate::preflight::CheckStatus::{self, Fail, Pass, Warn};

    const S: fn(u64) -> Duration = Duration::from_secs;
    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn timeouts_against_each_other() {
        type Change = fn(&mut Settings, &mut Deployment);
        let rows: [(Change, CheckStatus); 11] = [
            (|_, _| {}, Pass),
            (|_, deployment| deployment.grace_period = None, Pass),
            (|_, deployment| deployment.grace_period = Some(MS(6_999)), Warn),
            (|_, deployment| deployment.grace_period = Some(S(5)), Warn),
            (|_, deployment| deployment.grace_period = Some(MS(4_999)), Fail),
            (|settings, _| settings.pacing.linger = S(10), Warn),
            (|settings, _| settings.pacing.linger = MS(9_999), Pass),
            (|settings, _| settings.probe_timeout = S(10), Pass),
            (|settings, _| settings.probe_timeout = S(11), Warn),
            (|settings, _| settings.alerts.stalled_after = S(299), Warn),
            (
                |settings, _| {
                    settings.alerts = AlertsConfig::default().stalled(S(299)).off(AlertName::Stalled);
                },
                Pass,
            ),
        ];
        for (row, (change, status)) in rows.into_iter().enumerate() {
            let mut settings = Settings::default();
            let mut deployment = Deployment { grace_period: Some(S(7)), shutdown: S(5), event_rate: None };
            change(&mut settings, &mut deployment);
            let finding = judge(&settings, deployment);
            assert_eq!(finding.status, status, "{row}: {finding:?}");
        }
    }
}

use std::fmt;
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::{Alert, AlertName, LONGEST_WINDOW, Severity};
use crate::ConfigError;
use crate::config::check;

/// What a rollout is judged by.
#[derive(Clone, Debug)]
pub struct RolloutConfig {
    pub(super) window: Duration,
    pub(super) attempts: u64,
    pub(super) error_rate: f64,
    pub(super) p99: Duration,
    pub(super) losses: f64,
}

/// Whether a rollout may go on, as far as this process can tell. In JSON
/// `{"verdict":"hold","reasons":[{"code":"too_little_traffic","detail":"…"}]}`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a gate opens, stays shut, or turns back")]
pub enum RolloutVerdict {
    /// It is well, and there was enough to judge by.
    Proceed,
    /// It cannot be said yet, or something needs a look.
    Hold(Vec<RolloutReason>),
    /// It is not well: go back.
    Rollback(Vec<RolloutReason>),
}

/// Why a rollout may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RolloutReason {
    /// An alert fires. P1 rolls back, P2 holds.
    Alert {
        /// Which.
        name: AlertName,
        /// How urgent it is.
        severity: Severity,
    },
    /// Too many attempts failed, rejected ones included. Rolls back.
    ErrorRate {
        /// Of `attempts`.
        failed: u64,
        /// Within the window.
        attempts: u64,
    },
    /// The 99th percentile of the latency is too high. Rolls back.
    Latency {
        /// To one percent.
        p99: Duration,
    },
    /// Too many events were lost by this process. Rolls back.
    LostEvents(u64),
    /// Too many events became dead letters: PostHog does not take what this version sends. Rolls back.
    RejectedEvents(u64),
    /// The delivery task is gone. Rolls back.
    WorkerStopped,
    /// The client is disabled or was shut down. Holds.
    NotRunning,
    /// Too few attempts to judge by. Holds.
    TooLittleTraffic {
        /// Within the window.
        attempts: u64,
        /// What it takes.
        needed: u64,
    },
}

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

impl Default for RolloutConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(300),
            attempts: 20,
            error_rate: 0.05,
            p99: Duration::from_secs(5),
            losses: 0.001,
        }
    }
}

impl RolloutConfig {
    /// How far back to look, 10 min at most. Default 5 min: long enough for a quiet service, short enough that a
    /// stumble at the start is forgiven by the end of a watch of 10 min.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Attempts within the window that it takes to say `Proceed`. Default 20. An attempt is a request with up to
    /// a whole batch, and a service that captures all the time makes one a second.
    #[must_use]
    pub fn min_attempts(mut self, attempts: u64) -> Self {
        self.attempts = attempts;
        self
    }

    /// The share of attempts that may fail. Default 0.05. Fewer than three failures are stray ones.
    #[must_use]
    pub fn max_error_rate(mut self, share: f64) -> Self {
        self.error_rate = share;
        self
    }

    /// The share of events that may be lost, or become dead letters, counted each alone. Default 0.001: stray ones
    /// that the version before had too do not turn a busy service back.
    #[must_use]
    pub fn max_losses(mut self, share: f64) -> Self {
        self.losses = share;
        self
    }

    /// The 99th percentile of the latency. Default 5 s, the checklist's.
    #[must_use]
    pub fn max_p99(mut self, p99: Duration) -> Self {
        self.p99 = p99;
        self
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        check::duration("rollout.window", self.window, Duration::from_secs(1), LONGEST_WINDOW)?;
        check::within("rollout.min_attempts", self.attempts, 1, 1_000_000)?;
        check::within("rollout.max_error_rate", self.error_rate, 0.0, 1.0)?;
        check::within("rollout.max_losses", self.losses, 0.0, 1.0)?;
        check::duration("rollout.max_p99", self.p99, check::MILLISECOND, check::HOUR)
    }
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

impl RolloutVerdict {
    /// Why not. Empty for `Proceed`.
    pub fn reasons(&self) -> &[RolloutReason] {
        match self {
            Self::Proceed => &[],
            Self::Hold(reasons) | Self::Rollback(reasons) => reasons,
        }
    }

    /// The word for machines.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Proceed => "proceed",
            Self::Hold(_) => "hold",
            Self::Rollback(_) => "rollback",
        }
    }
}

impl RolloutReason {
    /// The word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Alert { name, .. } => name.code(),
            Self::ErrorRate { .. } => "error_rate",
            Self::Latency { .. } => "latency",
            Self::LostEvents(_) => "lost_events",
            Self::RejectedEvents(_) => "rejected_events",
            Self::WorkerStopped => "worker_stopped",
            Self::NotRunning => "not_running",
            Self::TooLittleTraffic { .. } => "too_little_traffic",
        }
    }
}

/// For people.
impl fmt::Display for RolloutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alert { name, severity } => write!(f, "the {} alert {name} fires", severity.as_str()),
            Self::ErrorRate { failed, attempts } => write!(f, "{failed} of {attempts} attempts failed"),
            Self::Latency { p99 } => write!(f, "the 99th percentile of the latency is {p99:?}"),
            Self::LostEvents(events) => write!(f, "{events} events were lost"),
            Self::RejectedEvents(events) => write!(f, "PostHog rejects events: {events} dead letters"),
            Self::WorkerStopped => f.write_str("the delivery task is gone"),
            Self::NotRunning => f.write_str("the client is disabled or was shut down"),
            Self::TooLittleTraffic { attempts, needed } => {
                write!(f, "{attempts} attempts are too few to judge by: {needed} needed")
            }
        }
    }
}

impl Serialize for RolloutReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut reason = serializer.serialize_struct("RolloutReason", 2)?;
        reason.serialize_field("code", self.code())?;
        reason.serialize_field("detail", &self.to_string())?;
        reason.end()
    }
}

impl Serialize for RolloutVerdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut verdict = serializer.serialize_struct("RolloutVerdict", 2)?;
        verdict.serialize_field("verdict", self.as_str())?;
        verdict.serialize_field("reasons", self.reasons())?;
        verdict.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Surface;

    fn well() -> Observations {
        let p99 = Some(Duration::from_millis(80));
        Observations {
            alerts: Vec::new(),
            attempts: 100,
            failed: 0,
            p99,
            delivered: 1_000,
            lost: 0,
            buried: 0,
        }
    }

    fn alert(name: AlertName, severity: Severity) -> Alert {
        Alert {
            name,
            surface: Surface::Capture,
            severity,
            firing_for: Duration::ZERO,
            detail: String::new(),
            runbook: name.runbook(),
        }
    }

    fn judge(seen: Observations) -> RolloutVerdict {
        verdict(&RolloutConfig::default(), seen)
    }

    #[test]
    fn each_bound_is_kept_to_and_not_beyond() {
        use RolloutVerdict::{Hold, Proceed, Rollback};
        let seconds = Duration::from_secs;
        assert_eq!(judge(well()), Proceed);
        assert_eq!(judge(Observations { failed: 5, ..well() }), Proceed, "five in a hundred may fail");
        let failing = RolloutReason::ErrorRate { failed: 6, attempts: 100 };
        assert_eq!(judge(Observations { failed: 6, ..well() }), Rollback(vec![failing]));
        let stray = Observations { attempts: 20, failed: 2, ..well() };
        assert_eq!(judge(stray), Proceed, "two failures are stray ones");
        assert_eq!(judge(Observations { p99: Some(seconds(5)), ..well() }), Proceed);
        let p99 = Duration::from_millis(5_001);
        let slow = RolloutReason::Latency { p99 };
        assert_eq!(judge(Observations { p99: Some(p99), ..well() }), Rollback(vec![slow]));
        let too_little = RolloutReason::TooLittleTraffic { attempts: 19, needed: 20 };
        let few = Observations { attempts: 19, failed: 19, p99: Some(p99), ..well() };
        assert_eq!(judge(few), Hold(vec![too_little]), "too few to say that it is bad either");
        assert_eq!(judge(Observations { attempts: 20, ..well() }), Proceed);
    }

    #[test]
    fn losses_and_urgent_alerts_need_no_traffic() {
        let none = Observations { attempts: 0, p99: None, delivered: 0, ..well() };
        let rolls_back =
            |seen| matches!(judge(seen), RolloutVerdict::Rollback(reasons) if reasons.len() == 1);
        assert!(rolls_back(Observations { lost: 1, ..none.clone() }));
        assert!(rolls_back(Observations { buried: 1, ..none.clone() }));
        assert!(rolls_back(Observations { lost: 2, ..well() }));
        let one_each = Observations { delivered: 999, lost: 1, buried: 1, ..well() };
        assert_eq!(judge(one_each), RolloutVerdict::Proceed, "one in a thousand");
        let urgent = vec![alert(AlertName::ApiDown, Severity::P1)];
        assert!(rolls_back(Observations { alerts: urgent, ..none.clone() }));
        assert!(matches!(judge(none), RolloutVerdict::Hold(_)));
        let other = vec![alert(AlertName::HighLatency, Severity::P2)];
        assert!(matches!(judge(Observations { alerts: other, ..well() }), RolloutVerdict::Hold(_)));
    }
}

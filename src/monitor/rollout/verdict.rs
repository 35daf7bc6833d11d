use std::fmt;
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::monitor::{AlertName, Severity};

/// Whether a rollout may go on, judged from this process alone. The JSON is
/// `{"verdict":"hold","reasons":[{"code":"too_little_traffic","detail":"…"}]}`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a rollout proceeds, holds or rolls back")]
pub enum RolloutVerdict {
    /// The version works, and there was enough traffic to judge it.
    Proceed,
    /// There was too little traffic to judge the version, or a person should look at it first.
    Hold(Vec<RolloutReason>),
    /// The version does not work: roll it back.
    Rollback(Vec<RolloutReason>),
}

/// Why a rollout may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RolloutReason {
    /// An alert fires. P1 rolls back, P2 holds.
    Alert {
        /// The alert.
        name: AlertName,
        /// Its severity.
        severity: Severity,
    },
    /// Too many attempts failed, including rejected ones. Rolls back.
    ErrorRate {
        /// The failed ones of these attempts.
        failed: u64,
        /// The attempts within the window.
        attempts: u64,
    },
    /// The 99th percentile of the latency is too high. Rolls back.
    Latency {
        /// The percentile, precise to one percent.
        p99: Duration,
    },
    /// This process lost too many events. Rolls back.
    LostEvents(u64),
    /// Too many events became dead letters, because PostHog rejects what this version sends. Rolls back.
    RejectedEvents(u64),
    /// The delivery task is gone. Rolls back.
    WorkerStopped,
    /// The client is disabled or was shut down. Holds.
    NotRunning,
    /// Too few attempts to judge by. Holds.
    TooLittleTraffic {
        /// The attempts within the window.
        attempts: u64,
        /// The attempts that a verdict needs.
        needed: u64,
    },
}

impl RolloutVerdict {
    /// Returns the reasons. `Proceed` has none.
    pub fn reasons(&self) -> &[RolloutReason] {
        match self {
            Self::Proceed => &[],
            Self::Hold(reasons) | Self::Rollback(reasons) => reasons,
        }
    }

    /// Returns the stable code for machines.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Proceed => "proceed",
            Self::Hold(_) => "hold",
            Self::Rollback(_) => "rollback",
        }
    }
}

impl RolloutReason {
    /// Returns the stable code for machines.
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

/// Writes a sentence for people.
impl fmt::Display for RolloutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alert { name, severity } => write!(f, "the {} alert {name} fires", severity.as_str()),
            Self::ErrorRate { failed, attempts } => write!(f, "{failed} of {attempts} attempts failed"),
            Self::Latency { p99 } => write!(f, "the 99th percentile of the latency is {p99:?}"),
            Self::LostEvents(events) => write!(f, "{events} events were lost"),
            Self::RejectedEvents(events) => write!(f, "PostHog rejects events: {events} dead letters"),
            Self::WorkerStopped => f.write_str("the delivery task is gone or does not run"),
            Self::NotRunning => f.write_str("the client is disabled or was shut down"),
            Self::TooLittleTraffic { attempts, needed } => {
                write!(f, "{attempts} attempts are too few to judge by: {needed} needed")
            }
        }
    }
}

impl Serialize for RolloutReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([("code", self.code()), ("detail", &self.to_string())])
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

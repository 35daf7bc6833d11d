use std::fmt;
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::monitor::{AlertName, Severity};

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

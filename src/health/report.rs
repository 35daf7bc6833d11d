use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Reason;
use crate::ErrorKind;
use crate::api::{CaptureProtocol, ProtocolReason};
use crate::delivery::{Ledger, QueueFill, SpoolHealth};
use crate::layers::CircuitState;
use crate::monitor::Alert;
use crate::rt::{serialize_ms, serialize_optional_ms};

/// The health of the PostHog integration. It serializes to the JSON that readiness probes and dashboards read:
///
/// ```json
/// {"status":"healthy","posthog":{"connected":true,"latencyMs":12},"reasons":[],…}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct HealthReport {
    /// The overall status.
    pub status: Status,
    /// The connection to PostHog.
    pub posthog: Connection,
    /// Why the status is degraded, the most informative reason first. Empty when healthy.
    pub reasons: Vec<Reason>,
    /// The capture protocol in use. Absent if the client is disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture: Option<CaptureHealth>,
    /// The delivery's circuit breaker.
    pub breaker: BreakerHealth,
    /// The queue in memory.
    pub queue: QueueFill,
    /// The spool on disk. Absent if none is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool: Option<SpoolHealth>,
    /// Every event since the start of the client, or with a spool since the spool was created.
    pub ledger: Ledger,
    /// The time since PostHog last accepted a batch.
    #[serde(
        rename = "lastSuccessAgeMs",
        serialize_with = "serialize_optional_ms",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_success: Option<Duration>,
    /// The last failed attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// The alerts that fire, the most urgent first. They do not degrade the report, because they keep firing for a while
    /// after their condition has ended.
    pub alerts: Vec<Alert>,
    /// The versions in this process.
    pub versions: Versions,
}

/// The overall status of a [`HealthReport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(clippy::exhaustive_enums, reason = "never a third word")]
pub enum Status {
    /// As far as is known, events reach PostHog.
    Healthy,
    /// Something needs attention. The service itself is not affected.
    Degraded,
}

/// The connection to PostHog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Connection {
    /// Whether PostHog answers and accepts the token. Absent before the first probe or attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected: Option<bool>,
    /// The latency of the probe or attempt that `connected` is derived from. Absent when `connected` is.
    #[serde(
        rename = "latencyMs",
        serialize_with = "serialize_optional_ms",
        skip_serializing_if = "Option::is_none"
    )]
    pub latency: Option<Duration>,
    /// The kind of the error, if not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorKind>,
    /// The error's HTTP status, if there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// The capture protocol that batches take, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CaptureHealth {
    /// V0 or V1.
    pub protocol: CaptureProtocol,
    /// Why it is that one.
    pub reason: ProtocolReason,
}

/// The delivery's circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BreakerHealth {
    /// The breaker's state.
    pub state: CircuitState,
    /// The time until the next probe, while the breaker is open.
    #[serde(
        rename = "retryInMs",
        serialize_with = "serialize_optional_ms",
        skip_serializing_if = "Option::is_none"
    )]
    pub retry_in: Option<Duration>,
}

/// The last failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LastError {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// The HTTP status, if there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The beginning of the answer, while PostHog rejects events and accepts none: up to 200 characters. It contains no token, but it may
    /// repeat a part of an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The time since the attempt ended.
    #[serde(rename = "ageMs", serialize_with = "serialize_ms")]
    pub age: Duration,
}

/// The versions in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Versions {
    /// The version of this crate.
    pub posthog_health: &'static str,
    /// The version of the SDK that this crate is built on.
    pub posthog_rs: &'static str,
}

impl HealthReport {
    /// Whether the status is healthy.
    pub fn is_healthy(&self) -> bool {
        self.status == Status::Healthy
    }

    /// Returns the report as JSON.
    pub fn to_json(&self) -> String {
        // Every field is a number, a string or a list of them, so serialization cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Writes the report as JSON.
impl fmt::Display for HealthReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

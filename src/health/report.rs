use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Reason;
use crate::ErrorKind;
use crate::delivery::{Ledger, QueueFill, SpoolHealth};
use crate::layers::CircuitState;
use crate::monitor::Alert;
use crate::rt::{serialize_ms, serialize_optional_ms};

/// How the PostHog integration is. Serializes to the JSON that readiness probes and dashboards read:
///
/// ```json
/// {"status":"healthy","posthog":{"connected":true,"latencyMs":12},"reasons":[],…}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct HealthReport {
    /// The one word.
    pub status: Status,
    /// The way to PostHog.
    pub posthog: Connection,
    /// Why it is degraded, the most telling first. Empty when healthy.
    pub reasons: Vec<Reason>,
    /// The delivery's circuit breaker.
    pub breaker: BreakerHealth,
    /// The queue in memory.
    pub queue: QueueFill,
    /// The spool on disk. Absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool: Option<SpoolHealth>,
    /// Every event since the start; with a spool, since its beginning.
    pub ledger: Ledger,
    /// Time since PostHog last took a batch.
    #[serde(
        rename = "lastSuccessAgeMs",
        serialize_with = "serialize_optional_ms",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_success: Option<Duration>,
    /// The last attempt that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// The alerts that fire, the most urgent first. They do not make a report degraded: they stay for a while
    /// after their reason has gone.
    pub alerts: Vec<Alert>,
    /// What runs here.
    pub versions: Versions,
}

/// The one word of a [`HealthReport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(clippy::exhaustive_enums, reason = "never a third word")]
pub enum Status {
    /// Events reach PostHog, as far as is known.
    Healthy,
    /// Something needs a look. The service itself is not affected.
    Degraded,
}

/// The way to PostHog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Connection {
    /// Whether PostHog answers and takes the token. Absent while nothing is known: no probe and no traffic
    /// yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected: Option<bool>,
    /// How long it took to find that out. Absent with `connected`.
    #[serde(
        rename = "latencyMs",
        serialize_with = "serialize_optional_ms",
        skip_serializing_if = "Option::is_none"
    )]
    pub latency: Option<Duration>,
    /// What went wrong, when not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorKind>,
    /// The HTTP status of that, when there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// The delivery's circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BreakerHealth {
    /// Its state.
    pub state: CircuitState,
    /// Time until the next probe, while open.
    #[serde(
        rename = "retryInMs",
        serialize_with = "serialize_optional_ms",
        skip_serializing_if = "Option::is_none"
    )]
    pub retry_in: Option<Duration>,
}

/// The last attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LastError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The HTTP status, when there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Time since then.
    #[serde(rename = "ageMs", serialize_with = "serialize_ms")]
    pub age: Duration,
}

/// What runs here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Versions {
    /// This crate.
    pub posthog_health: &'static str,
    /// The SDK that it is built on.
    pub posthog_rs: &'static str,
}

impl HealthReport {
    /// Whether there is nothing to look at.
    pub fn is_healthy(&self) -> bool {
        self.status == Status::Healthy
    }

    /// The report as JSON.
    pub fn to_json(&self) -> String {
        // Every part is a number, a word or a list of them: nothing in it can fail to serialize.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The report as JSON.
impl fmt::Display for HealthReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

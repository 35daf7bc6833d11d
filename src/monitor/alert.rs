use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// What an alert is about. The first four are the go-live checklist's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AlertName {
    /// PostHog answers with 5xx or not at all, or something else answers.
    ApiDown,
    /// The 99th percentile of the latency is too high.
    HighLatency,
    /// PostHog asks for fewer requests (429).
    RateLimited,
    /// PostHog refuses the token (401, 403).
    AuthFailures,
    /// The project is over its billing quota.
    QuotaExceeded,
    /// Events were dropped that nobody asked to drop.
    LosingEvents,
    /// The circuit breaker is not closed.
    CircuitOpen,
    /// The spool is full or will be soon.
    SpoolFilling,
    /// Events wait and none is delivered.
    Stalled,
}

/// How urgent an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[allow(clippy::exhaustive_enums, reason = "the checklist's two")]
pub enum Severity {
    /// Wake somebody.
    P1,
    /// Look at it in working hours.
    P2,
}

/// The part of PostHog that an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Surface {
    /// Where events go.
    Capture,
    /// Feature flags.
    Flags,
}

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Alert {
    /// What it is about.
    pub name: AlertName,
    /// Where.
    pub surface: Surface,
    /// How urgent it is.
    pub severity: Severity,
    /// How long it has been firing.
    #[serde(rename = "firingForMs", serialize_with = "ms")]
    pub firing_for: Duration,
    /// What was seen, and the limit:
    /// `failed attempts: 13 within a minute, more than 10, last server (HTTP 503)`.
    pub detail: String,
    /// What to do about it: [`AlertName::runbook`].
    pub runbook: &'static str,
}

/// An alert began or ceased to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums, reason = "an alert fires or does not")]
pub enum AlertTransition {
    /// It fires now.
    Firing(Alert),
    /// It fires no more.
    Resolved(Alert),
}

impl AlertTransition {
    /// The alert that fires, or fired.
    pub fn alert(&self) -> &Alert {
        match self {
            Self::Firing(alert) | Self::Resolved(alert) => alert,
        }
    }
}

impl AlertName {
    pub(crate) const ALL: [Self; 9] = [
        Self::ApiDown,
        Self::HighLatency,
        Self::RateLimited,
        Self::AuthFailures,
        Self::QuotaExceeded,
        Self::LosingEvents,
        Self::CircuitOpen,
        Self::SpoolFilling,
        Self::Stalled,
    ];

    /// All alerts, for a runbook or rules of your own.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    /// The word for machines: `api_down`.
    pub fn code(self) -> &'static str {
        self.words().0
    }

    /// The section about it in this crate's `docs`: `runbook.md#api-down`. Relative, so that it holds wherever you keep
    /// the pages.
    pub fn runbook(self) -> &'static str {
        self.words().2
    }

    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::ApiDown => ("api_down", "API Down", "runbook.md#api-down"),
            Self::HighLatency => ("high_latency", "High Latency", "runbook.md#high-latency"),
            Self::RateLimited => ("rate_limited", "Rate Limited", "runbook.md#rate-limited"),
            Self::AuthFailures => ("auth_failures", "Auth Failures", "runbook.md#auth-failures"),
            Self::QuotaExceeded => ("quota_exceeded", "Quota Exceeded", "runbook.md#quota-exceeded"),
            Self::LosingEvents => ("losing_events", "Losing Events", "runbook.md#losing-events"),
            Self::CircuitOpen => ("circuit_open", "Circuit Open", "runbook.md#circuit-open"),
            Self::SpoolFilling => ("spool_filling", "Spool Filling", "runbook.md#spool-filling"),
            Self::Stalled => ("stalled", "Stalled", "runbook.md#stalled"),
        }
    }
}

/// As the checklist writes it: `API Down`.
impl fmt::Display for AlertName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().1)
    }
}

impl AlertName {
    /// Whether it can be about that part of PostHog.
    pub(super) fn concerns(self, surface: Surface) -> bool {
        let only_capture = matches!(self, Self::LosingEvents | Self::SpoolFilling | Self::Stalled);
        surface == Surface::Capture || !only_capture
    }
}

impl Severity {
    /// `P1` or `P2`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P1 => "P1",
            Self::P2 => "P2",
        }
    }
}

impl Surface {
    pub(crate) const ALL: [Self; 2] = [Self::Capture, Self::Flags];

    /// The word for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Flags => "flags",
        }
    }
}

/// `P1 API Down (capture): failed attempts: 13 within a minute, more than 10, last server (HTTP 503)`
impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, surface, severity, detail, .. } = self;
        write!(f, "{} {name} ({}): {detail}", severity.as_str(), surface.as_str())
    }
}

pub(crate) fn ms<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

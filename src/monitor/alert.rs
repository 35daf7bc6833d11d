use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::rt::{named, serialize_ms};

macro_rules! alerts {
    ($($(#[$doc:meta])* $id:ident $code:literal $title:literal $section:literal $severity:ident)*) => {
        /// The subject of an alert. The first four come from the go-live checklist.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        #[non_exhaustive]
        pub enum AlertName {
            $($(#[$doc])* #[serde(rename = $code)] $id,)*
        }

        impl AlertName {
            pub(crate) const ALL: [Self; [$($code,)*].len()] = [$(Self::$id,)*];

            /// Returns the stable code for machines: `api_down`.
            pub fn code(self) -> &'static str {
                match self { $(Self::$id => $code,)* }
            }

            /// Returns the alert's section in this crate's `docs`: `runbook.md#api-down`. The link is relative, so that it
            /// works wherever you keep the pages.
            pub fn runbook(self) -> &'static str {
                match self { $(Self::$id => concat!("runbook.md#", $section),)* }
            }

            /// Returns the severity that holds unless [`AlertsConfig`](crate::AlertsConfig) changes it.
            pub(crate) fn severity(self) -> Severity {
                match self { $(Self::$id => Severity::$severity,)* }
            }

            /// Returns the name for people, as the checklist writes it.
            fn title(self) -> &'static str {
                match self { $(Self::$id => $title,)* }
            }
        }
    };
}

// The one list of alerts. `AlertsConfig` documents when each fires, and `rules.rs` decides it.
alerts! {
    /// PostHog answers with 5xx or not at all, or another server answers in its place.
    ApiDown "api_down" "API Down" "api-down" P1
    /// The 99th percentile of the latency is too high.
    HighLatency "high_latency" "High Latency" "high-latency" P2
    /// PostHog asks for fewer requests (429).
    RateLimited "rate_limited" "Rate Limited" "rate-limited" P2
    /// PostHog refuses the token (401, 403).
    AuthFailures "auth_failures" "Auth Failures" "auth-failures" P1
    /// The project is over its billing quota.
    QuotaExceeded "quota_exceeded" "Quota Exceeded" "quota-exceeded" P2
    /// Events were dropped unintentionally.
    LosingEvents "losing_events" "Losing Events" "losing-events" P2
    /// The circuit breaker is not closed.
    CircuitOpen "circuit_open" "Circuit Open" "circuit-open" P2
    /// The spool is full or will be soon.
    SpoolFilling "spool_filling" "Spool Filling" "spool-filling" P2
    /// Events are waiting, and none is delivered.
    Stalled "stalled" "Stalled" "stalled" P1
}

impl AlertName {
    /// Returns all alerts, for a runbook or rules of your own.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    /// Whether this alert can fire for this part of PostHog.
    #[cfg(feature = "metrics")]
    pub(crate) fn applies_to(self, surface: Surface) -> bool {
        let only_capture = matches!(self, Self::LosingEvents | Self::SpoolFilling | Self::Stalled);
        surface == Surface::Capture || !only_capture
    }
}

/// Writes the name as the checklist does: `API Down`.
impl fmt::Display for AlertName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

named! {
    /// How urgent an alert is.
    #[derive(Hash, PartialOrd, Ord)]
    #[allow(clippy::exhaustive_enums, reason = "the checklist's two")]
    pub enum Severity {
        /// Wake somebody.
        P1 = "P1",
        /// Handle it in working hours.
        P2 = "P2",
    }
}

named! {
    /// The part of PostHog that an alert is about.
    #[derive(Hash)]
    #[non_exhaustive]
    pub enum Surface {
        /// The endpoint that receives events.
        Capture = "capture",
        /// Feature flags.
        Flags = "flags",
    }
}

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Alert {
    /// The subject.
    pub name: AlertName,
    /// The part of PostHog.
    pub surface: Surface,
    /// The urgency.
    pub severity: Severity,
    /// How long it has been firing.
    #[serde(rename = "firingForMs", serialize_with = "serialize_ms")]
    pub firing_for: Duration,
    /// The observation and its limit:
    /// `failed attempts: 13 within a minute, more than 10, last server (HTTP 503)`.
    pub detail: String,
    /// The section of the runbook: [`AlertName::runbook`].
    pub runbook: &'static str,
}

/// An alert that began or ceased to fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums, reason = "an alert fires or does not")]
pub enum AlertTransition {
    /// The alert fires now.
    Firing(Alert),
    /// The alert fires no longer.
    Resolved(Alert),
}

impl AlertTransition {
    /// Returns the alert that fires or fired.
    pub fn alert(&self) -> &Alert {
        match self {
            Self::Firing(alert) | Self::Resolved(alert) => alert,
        }
    }
}

/// Writes `P1 API Down (capture): failed attempts: 13 within a minute, more than 10, last server (HTTP 503)`
impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, surface, severity, detail, .. } = self;
        write!(f, "{} {name} ({}): {detail}", severity.as_str(), surface.as_str())
    }
}

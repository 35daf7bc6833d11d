use std::time::Duration;

use super::{AlertName, Severity};
use crate::ConfigError;
use crate::error::check;

/// When the alerts fire. The defaults are the go-live checklist's, where it names one.
///
/// | alert | fires | severity |
/// |---|---|---|
/// | API Down | more than 10 failures a minute: 5xx, 408, no answer, an answer that is not PostHog's | P1 |
/// | High Latency | more than 1 % of the attempts of 5 minutes, 3 at least, took more than 5 s: p99 > 5000 ms | P2 |
/// | Rate Limited | more than 5 times 429 a minute | P2 |
/// | Auth Failures | 401 or 403; a health probe that finds the token refused | P1 |
/// | Quota Exceeded | 402, or a 2xx that says that events are over the quota | P2 |
/// | Losing Events | an event is dropped that nobody asked to drop | P2 |
/// | Circuit Open | the circuit breaker is not closed | P2 |
/// | Spool Filling | the spool is full, or will be within an hour if it goes on as in the last minute | P2 |
/// | Stalled | events wait, and for 5 minutes none was delivered | P1 |
///
/// The first five fire too when what they count has gone on for a minute without a success in between: for API
/// Down and Rate Limited twice at least, for High Latency three times. An open breaker, a paused limiter or a
/// refused token leave next to nothing to count, and must not end the alert in the middle of the outage. For API Down and
/// Rate Limited an answer that refuses (400, 401, 402, 403) is as good as a success, as it is for the breaker: PostHog
/// is there.
///
/// An alert resolves when there was a success and then no reason for 5 minutes, so that a PostHog that comes and goes
/// is one alert.
#[derive(Clone, Debug)]
pub struct AlertsConfig {
    pub(super) failures: u32,
    pub(super) latency: Duration,
    pub(super) throttled: u32,
    pub(super) unauthorized: u32,
    pub(super) over_quota: u32,
    pub(super) lost: u64,
    pub(super) spool_full_in: Duration,
    pub(crate) stalled_after: Duration,
    pub(super) resolve_after: Duration,
    severities: [Option<Severity>; AlertName::ALL.len()],
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self {
            failures: 10,
            latency: Duration::from_secs(5),
            throttled: 5,
            unauthorized: 0,
            over_quota: 0,
            lost: 0,
            spool_full_in: Duration::from_secs(3600),
            stalled_after: Duration::from_secs(300),
            resolve_after: Duration::from_secs(300),
            severities: AlertName::ALL.map(|name| Some(name.severity())),
        }
    }
}

impl AlertsConfig {
    /// Fires above so many failures a minute. Default 10, the checklist's.
    #[must_use]
    pub fn api_down(mut self, failures_per_minute: u32) -> Self {
        self.failures = failures_per_minute;
        self
    }

    /// Fires when the 99th percentile is above this. Default 5 s, the checklist's. It is counted, not estimated:
    /// more than one attempt in a hundred took longer.
    #[must_use]
    pub fn high_latency(mut self, p99: Duration) -> Self {
        self.latency = p99;
        self
    }

    /// Fires above so many 429 a minute. Default 5, the checklist's.
    #[must_use]
    pub fn rate_limited(mut self, throttled_per_minute: u32) -> Self {
        self.throttled = throttled_per_minute;
        self
    }

    /// Fires above so many refusals a minute. Default 0, the checklist's.
    #[must_use]
    pub fn auth_failures(mut self, refused_per_minute: u32) -> Self {
        self.unauthorized = refused_per_minute;
        self
    }

    /// Fires above so many answers a minute that say "over quota". Default 0: each of them costs a batch.
    #[must_use]
    pub fn quota_exceeded(mut self, answers_per_minute: u32) -> Self {
        self.over_quota = answers_per_minute;
        self
    }

    /// Fires above so many lost events a minute. Default 0: any loss. What a `before_send` hook drops, a disabled
    /// client, or [`discard_dead_letters`](crate::PostHog::discard_dead_letters) is no loss.
    #[must_use]
    pub fn losing_events(mut self, lost_per_minute: u64) -> Self {
        self.lost = lost_per_minute;
        self
    }

    /// Fires when the spool would be full before that. Default 1 h: time to act.
    #[must_use]
    pub fn spool_filling(mut self, full_in: Duration) -> Self {
        self.spool_full_in = full_in;
        self
    }

    /// Fires when nothing was delivered for so long while events wait. Default 5 min, the longest
    /// [`Retry-After`](crate::PostHogBuilder::longest_retry_after) that is believed.
    #[must_use]
    pub fn stalled(mut self, after: Duration) -> Self {
        self.stalled_after = after;
        self
    }

    /// How long an alert must have had no reason before it resolves. Default 5 min.
    #[must_use]
    pub fn resolve_after(mut self, quiet: Duration) -> Self {
        self.resolve_after = quiet;
        self
    }

    /// Changes how urgent an alert is.
    #[must_use]
    pub fn severity(mut self, alert: AlertName, severity: Severity) -> Self {
        self.severities[alert as usize] = Some(severity);
        self
    }

    /// Turns an alert off.
    #[must_use]
    pub fn off(mut self, alert: AlertName) -> Self {
        self.severities[alert as usize] = None;
        self
    }

    /// `None` when it is off.
    pub(crate) fn severity_of(&self, alert: AlertName) -> Option<Severity> {
        self.severities[alert as usize]
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let day = check::HOUR * 24;
        check::duration("alerts.high_latency", self.latency, check::MILLISECOND, check::HOUR)?;
        check::duration("alerts.spool_filling", self.spool_full_in, check::MILLISECOND, 365 * day)?;
        check::duration("alerts.stalled", self.stalled_after, check::MILLISECOND, day)?;
        check::duration("alerts.resolve_after", self.resolve_after, check::MILLISECOND, day)
    }
}

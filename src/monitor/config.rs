use std::time::Duration;

use super::{AlertName, Severity};
use crate::ConfigError;
use crate::error::check;
use crate::rt::setters;

/// When the alerts fire, and how urgent each is. The defaults are the go-live checklist's where it names one.
///
/// | alert | fires | severity |
/// |---|---|---|
/// | API Down | more than 10 failures per minute: 5xx, 408, no answer, or an answer that is not PostHog's | P1 |
/// | High Latency | more than 1 % of the attempts of 5 minutes, and at least 3, took more than 5 s: p99 > 5000 ms | P2 |
/// | Rate Limited | more than 5 answers with 429 per minute | P2 |
/// | Auth Failures | an answer with 401 or 403, or a health probe that finds the token refused | P1 |
/// | Quota Exceeded | an answer with 402, or a 2xx that reports the quota as exceeded: each costs a batch | P2 |
/// | Losing Events | an event is dropped unintentionally | P2 |
/// | Circuit Open | the circuit breaker is not closed | P2 |
/// | Spool Filling | the spool is full, or will be within an hour at the rate of the last minute | P2 |
/// | Stalled | events are waiting, and none was delivered for 5 minutes | P1 |
///
/// The first five also fire when their failures continue for a minute without a success in between. API Down and Rate
/// Limited need at least two such failures, High Latency three. The reason is that an open breaker, a paused limiter or a
/// refused token suppresses the traffic that these alerts count, which must not end an alert in the middle of an outage.
/// For API Down and Rate Limited, a refusal (400, 401, 402, 403) ends the streak like a success, as it does for the
/// breaker, because it proves that PostHog is up.
///
/// An alert resolves after a success, when its condition has not held for 5 minutes. A flapping PostHog is therefore one
/// alert.
#[derive(Clone, Debug)]
pub struct AlertsConfig {
    pub(crate) failures: u32,
    pub(crate) latency: Duration,
    pub(crate) throttled: u32,
    pub(crate) unauthorized: u32,
    pub(crate) lost: u64,
    pub(crate) stalled_after: Duration,
    pub(crate) resolve_after: Duration,
    severities: [Option<Severity>; AlertName::ALL.len()],
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self {
            failures: 10,
            latency: Duration::from_secs(5),
            throttled: 5,
            unauthorized: 0,
            lost: 0,
            stalled_after: Duration::from_secs(300),
            resolve_after: Duration::from_secs(300),
            severities: AlertName::ALL.map(|name| Some(name.severity())),
        }
    }
}

impl AlertsConfig {
    setters! {
        /// Sets the number of failures per minute above which API Down fires. The default is 10, the checklist's.
        pub fn api_down(mut self, failures_per_minute: u32 => failures);

        /// Sets the 99th percentile above which High Latency fires, and above which a
        /// [rollout](crate::PostHog::rollout_verdict) is rolled back. The default is 5 s, the checklist's. The percentile is
        /// counted and not estimated: the alert fires when more than one attempt in a hundred took longer.
        pub fn high_latency(mut self, p99: Duration => latency);

        /// Sets the number of 429 per minute above which Rate Limited fires. The default is 5, the checklist's.
        pub fn rate_limited(mut self, throttled_per_minute: u32 => throttled);

        /// Sets the number of refusals per minute above which Auth Failures fires. The default is 0, the checklist's.
        pub fn auth_failures(mut self, refused_per_minute: u32 => unauthorized);

        /// Sets the number of lost events per minute above which Losing Events fires. The default is 0, so that any loss
        /// fires. Events dropped by a `before_send` hook, by a disabled client or by
        /// [`discard_dead_letters`](crate::PostHog::discard_dead_letters) are not lost.
        pub fn losing_events(mut self, lost_per_minute: u64 => lost);

        /// Sets how long events may wait without any being delivered before Stalled fires. The default is 5 min, the longest
        /// [`Retry-After`](crate::PostHogBuilder::longest_retry_after) that is honored by default.
        pub fn stalled(mut self, after: Duration => stalled_after);

        /// Sets how long an alert's condition must not hold before the alert resolves. The default is 5 min: shorter times
        /// turn a flapping PostHog into many alerts.
        pub fn resolve_after(mut self, quiet: Duration => resolve_after);
    }

    /// Changes the severity of an alert.
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

    /// Returns `None` for an alert that is off.
    pub(crate) fn severity_of(&self, alert: AlertName) -> Option<Severity> {
        self.severities[alert as usize]
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let day = check::HOUR * 24;
        check::duration("alerts.high_latency", self.latency, check::MILLISECOND, check::HOUR)?;
        check::duration("alerts.stalled", self.stalled_after, check::MILLISECOND, day)?;
        check::duration("alerts.resolve_after", self.resolve_after, check::MILLISECOND, day)
    }
}

use std::time::Duration;

use super::PostHogBuilder;
use crate::monitor::{AlertsConfig, RolloutConfig};

/// Health, alerts and rollouts.
impl PostHogBuilder {
    /// The time that a health probe may take. Default 2 s: readiness probes wait little longer.
    pub fn probe_timeout(mut self, timeout: Duration) -> Self {
        self.settings.probe_timeout = timeout;
        self
    }

    /// How long the answer of a health probe is good. Default 10 s, the usual period of a readiness probe:
    /// a thousand readiness calls a second cost PostHog one request in that time.
    pub fn probe_cache(mut self, cache: Duration) -> Self {
        self.settings.probe_cache = cache;
        self
    }

    /// When alerts fire. See [`AlertsConfig`] for the defaults, the go-live checklist's.
    pub fn alerts(mut self, alerts: AlertsConfig) -> Self {
        self.settings.alerts = alerts;
        self
    }

    /// What [`PostHog::rollout_verdict`](crate::PostHog::rollout_verdict) judges by. See [`RolloutConfig`] for the defaults.
    pub fn rollout(mut self, rollout: RolloutConfig) -> Self {
        self.settings.rollout = rollout;
        self
    }
}

use std::time::Duration;

use crate::ConfigError;
use crate::error::check;
use crate::rt::ring::LONGEST_WINDOW;
use crate::rt::setters;

/// The limits by which a rollout is judged, besides the alerts and their limit on the latency
/// ([`AlertsConfig::high_latency`](crate::AlertsConfig::high_latency)).
#[derive(Clone, Debug)]
pub struct RolloutConfig {
    pub(crate) window: Duration,
    pub(crate) attempts: u64,
    pub(crate) error_rate: f64,
    pub(crate) losses: f64,
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self { window: Duration::from_secs(300), attempts: 20, error_rate: 0.05, losses: 0.001 }
    }
}

impl RolloutConfig {
    setters! {
        /// Sets the window over which attempts and events are counted, at most 10 min. The default is 5 min: long enough for a
        /// quiet service, and short enough that failures at the start no longer count when a canary's 10 minutes end.
        pub fn window(mut self, window: Duration => window);

        /// Sets the number of attempts within the window that a `Proceed` needs. The default is 20. An attempt is a request
        /// with up to a whole batch, and a service that captures steadily makes one per second.
        pub fn min_attempts(mut self, attempts: u64 => attempts);

        /// Sets the share of attempts that may fail. The default is 0.05. Fewer than three failures never count.
        pub fn max_error_rate(mut self, share: f64 => error_rate);

        /// Sets the share of events that may be lost, and separately the share that may become dead letters. The default is
        /// 0.001, so that a few bad events, which the previous version had too, do not roll back a busy service.
        pub fn max_losses(mut self, share: f64 => losses);
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        check::duration("rollout.window", self.window, Duration::from_secs(1), LONGEST_WINDOW)?;
        check::within("rollout.min_attempts", self.attempts, 1, 1_000_000)?;
        check::within("rollout.max_error_rate", self.error_rate, 0.0, 1.0)?;
        check::within("rollout.max_losses", self.losses, 0.0, 1.0)
    }
}

use std::time::Duration;

use crate::ConfigError;
use crate::error::check;
use crate::monitor::LONGEST_WINDOW;

/// What a rollout is judged by.
#[derive(Clone, Debug)]
pub struct RolloutConfig {
    pub(in crate::monitor) window: Duration,
    pub(in crate::monitor) attempts: u64,
    pub(in crate::monitor) error_rate: f64,
    pub(in crate::monitor) p99: Duration,
    pub(in crate::monitor) losses: f64,
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(300),
            attempts: 20,
            error_rate: 0.05,
            p99: Duration::from_secs(5),
            losses: 0.001,
        }
    }
}

impl RolloutConfig {
    /// How far back to look, 10 min at most. Default 5 min: long enough for a quiet service, short enough that a
    /// stumble at the start is forgiven by the end of a watch of 10 min.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Attempts within the window that it takes to say `Proceed`. Default 20. An attempt is a request with up to
    /// a whole batch, and a service that captures all the time makes one a second.
    #[must_use]
    pub fn min_attempts(mut self, attempts: u64) -> Self {
        self.attempts = attempts;
        self
    }

    /// The share of attempts that may fail. Default 0.05. Fewer than three failures are stray ones.
    #[must_use]
    pub fn max_error_rate(mut self, share: f64) -> Self {
        self.error_rate = share;
        self
    }

    /// The share of events that may be lost, or become dead letters, counted each alone. Default 0.001: stray ones
    /// that the version before had too do not turn a busy service back.
    #[must_use]
    pub fn max_losses(mut self, share: f64) -> Self {
        self.losses = share;
        self
    }

    /// The 99th percentile of the latency. Default 5 s, the checklist's.
    #[must_use]
    pub fn max_p99(mut self, p99: Duration) -> Self {
        self.p99 = p99;
        self
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        check::duration("rollout.window", self.window, Duration::from_secs(1), LONGEST_WINDOW)?;
        check::within("rollout.min_attempts", self.attempts, 1, 1_000_000)?;
        check::within("rollout.max_error_rate", self.error_rate, 0.0, 1.0)?;
        check::within("rollout.max_losses", self.losses, 0.0, 1.0)?;
        check::duration("rollout.max_p99", self.p99, check::MILLISECOND, check::HOUR)
    }
}

use std::time::Duration;

use crate::ConfigError;
use crate::error::check;

/// How often and how fast to try again. [`RetryLayer`](super::RetryLayer) gives the reasons for the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryConfig {
    pub(crate) attempts: u32,
    pub(crate) base: Duration,
    pub(crate) cap: Duration,
    pub(crate) share: f32,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { attempts: 3, base: Duration::from_millis(500), cap: Duration::from_secs(30), share: 0.2 }
    }
}

impl RetryConfig {
    /// Attempts in total, including the first. The default is 3; with 1 there are no retries.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The longest wait before the first retry, and the longest wait of all. The defaults are 500 ms and 30 s.
    #[must_use]
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.base = base;
        self.cap = cap;
        self
    }

    /// Retries as a share of all calls, over ten seconds. The default is 0.2.
    #[must_use]
    pub fn budget(mut self, share: f32) -> Self {
        self.share = share;
        self
    }

    /// The pauses between calls whose attempts all failed: the same backoff, cut at five seconds so that it
    /// does not put off a recovery that the circuit breaker (ten seconds) has found.
    pub(crate) fn setback(&self) -> (Duration, Duration) {
        (self.base, self.cap.min(Duration::from_secs(5)))
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        check::within("retry.attempts", self.attempts, 1, 100)?;
        check::duration("retry.backoff.base", self.base, check::MILLISECOND, check::HOUR)?;
        check::duration("retry.backoff.cap", self.cap, self.base, check::HOUR)?;
        if !(0.0..=10.0).contains(&self.share) {
            return Err(ConfigError::new(
                "retry.budget",
                format!("is {}", self.share),
                "use a share from 0 to 10",
            ));
        }
        Ok(())
    }
}

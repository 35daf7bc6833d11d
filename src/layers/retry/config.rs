use std::time::Duration;

use crate::ConfigError;
use crate::error::check;
use crate::rt::setters;

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
    setters! {
        /// Attempts in total, including the first. The default is 3; with 1 there are no retries.
        pub fn attempts(mut self, attempts: u32 => attempts);

        /// The longest random part of the wait before the first retry, and the longest wait of all. The defaults are 500 ms
        /// and 30 s. At least 100 ms are waited, or half of the longest wait if that is shorter.
        pub fn backoff(mut self, base: Duration => base, cap: Duration => cap);

        /// Retries as a share of all calls, over ten seconds. The default is 0.2.
        pub fn budget(mut self, share: f32 => share);
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        check::within("retry.attempts", self.attempts, 1, 100)?;
        check::duration("retry.backoff.base", self.base, check::MILLISECOND, check::HOUR)?;
        check::duration("retry.backoff.cap", self.cap, self.base, check::HOUR)?;
        if !(0.0..=10.0).contains(&self.share) {
            let problem = format!("is {}", self.share);
            return Err(ConfigError::new("retry.budget", problem, "use a share from 0 to 10"));
        }
        Ok(())
    }
}

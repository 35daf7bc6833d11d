use std::num::NonZeroU32;
use std::time::Duration;

use governor::Quota;

use crate::ConfigError;
use crate::error::check;
use crate::rt::setters;

/// How many calls may pass. [`RateLimitLayer`](super::RateLimitLayer) gives the reasons for the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitConfig {
    pub(crate) rate: u32,
    pub(crate) burst: u32,
    pub(crate) pause: Duration,
    pub(crate) longest_pause: Duration,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self { rate: 50, burst: 100, pause: Duration::from_secs(1), longest_pause: Duration::from_secs(30) }
    }
}

impl RateLimitConfig {
    setters! {
        /// Calls per second, sustained. The default is 50.
        pub fn rate(mut self, calls_per_second: u32 => rate);

        /// Calls that may pass at once after a quiet time. The default is 100.
        pub fn burst(mut self, calls: u32 => burst);

        /// The pause after a 429 that names no time, and the longest pause while 429s continue. The defaults are 1 s and 30 s.
        /// A time that the service names is respected even if it is longer.
        pub fn pause(mut self, first: Duration => pause, longest: Duration => longest_pause);
    }

    pub(super) fn quota(&self) -> Result<Quota, ConfigError> {
        let calls = |field, value| {
            check::within(field, value, 1, 1_000_000)?;
            NonZeroU32::new(value).ok_or_else(|| ConfigError::new(field, "is 0", "use at least 1"))
        };
        let (rate, burst) = (calls("rate_limit.rate", self.rate)?, calls("rate_limit.burst", self.burst)?);
        check::duration("rate_limit.pause.first", self.pause, check::MILLISECOND, check::HOUR)?;
        check::duration("rate_limit.pause.longest", self.longest_pause, self.pause, check::HOUR)?;
        Ok(Quota::per_second(rate).allow_burst(burst))
    }
}

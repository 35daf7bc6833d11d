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
    pub(super) per: Duration,
    pub(crate) burst: u32,
    pub(crate) pause: Duration,
    pub(crate) longest_pause: Duration,
    pub(crate) longest_wait: Option<Duration>,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self {
            rate: 50,
            per: Duration::from_secs(1),
            burst: 100,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
            longest_wait: None,
        }
    }
}

impl RateLimitConfig {
    /// How long a call waits for its token at most. With zero it does not wait. A call that would wait longer is rejected with
    /// [`RateLimitExceeded`](super::RateLimitExceeded), and at once if the calls before it in line are too many. By default calls
    /// wait for as long as it takes, as those of delivery always do.
    #[must_use]
    pub fn longest_wait(mut self, time: Duration) -> Self {
        self.longest_wait = Some(time);
        self
    }

    setters! {
        /// Calls per second, or [per](Self::per) another time, sustained. The default is 50.
        pub fn rate(mut self, calls: u32 => rate);

        /// The time that [`rate`](Self::rate) counts calls in. The default is 1 s. The calls are spread evenly over it: 1,200 an
        /// hour are one every 3 s.
        pub fn per(mut self, time: Duration => per);

        /// Calls that may pass at once after a quiet time. The default is 100. Within any time there are at most as many calls as
        /// the rate allows and the burst in addition, so keep both together below what the service allows.
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
        check::duration("rate_limit.per", self.per, check::MILLISECOND, 24 * check::HOUR)?;
        check::duration("rate_limit.pause.first", self.pause, check::MILLISECOND, check::HOUR)?;
        check::duration("rate_limit.pause.longest", self.longest_pause, self.pause, check::HOUR)?;
        // From a millisecond on, divided by a million at most, it is not zero.
        let quota = Quota::with_period(self.per / rate.get()).ok_or_else(|| {
            ConfigError::new("rate_limit.per", "is too short for the rate", "use a longer time")
        })?;
        Ok(quota.allow_burst(burst))
    }
}

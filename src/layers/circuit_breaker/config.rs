use std::time::Duration;

use crate::ConfigError;
use crate::error::check;
use crate::rt::setters;

/// When a circuit breaker opens, for how long, and how it recovers. [`CircuitBreakerLayer`](super::CircuitBreakerLayer)
/// explains how the values work together.
#[derive(Clone, Debug, PartialEq)]
pub struct CircuitBreakerConfig {
    pub(crate) window: u32,
    pub(crate) min_calls: u32,
    pub(crate) failure_rate: f64,
    pub(crate) open_time: Duration,
    pub(crate) longest_open_time: Duration,
    pub(super) probes: u32,
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            window: 10,
            min_calls: 5,
            failure_rate: 0.5,
            open_time: Duration::from_secs(1),
            longest_open_time: Duration::from_secs(10),
            probes: 1,
        }
    }
}

impl CircuitBreakerConfig {
    setters! {
        /// How many of the latest results decide. The default is 10, because delivery makes few, large calls: two a second at
        /// 200 events/s, so ten are a few seconds of traffic. For a busy service use more.
        pub fn window(mut self, calls: u32 => window);

        /// How many results there must be before the breaker can open. The default is 5, because fewer say little.
        pub fn min_calls(mut self, calls: u32 => min_calls);

        /// The share of failures in the window that opens the breaker, above 0 and up to 1. The default is 0.5.
        pub fn failure_rate(mut self, share: f64 => failure_rate);

        /// How long to stay open at first, and at most. The defaults are 1 s and 10 s. The second is the longest time that a
        /// recovered service waits for its first call. A `Retry-After` may extend both.
        pub fn open_time(mut self, first: Duration => open_time, longest: Duration => longest_open_time);

        /// How many calls may be in flight at once while the breaker is half open. The default is 1.
        pub fn probes(mut self, calls: u32 => probes);
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        check::within("circuit_breaker.window", self.window, 1, 100_000)?;
        check::within("circuit_breaker.min_calls", self.min_calls, 1, self.window)?;
        check::share("circuit_breaker.failure_rate", self.failure_rate)?;
        check::duration("circuit_breaker.open_time.first", self.open_time, check::MILLISECOND, check::HOUR)?;
        check::duration(
            "circuit_breaker.open_time.longest",
            self.longest_open_time,
            self.open_time,
            check::HOUR,
        )?;
        check::within("circuit_breaker.probes", self.probes, 1, 1000)
    }
}

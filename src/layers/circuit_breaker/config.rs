use std::time::Duration;

use crate::ConfigError;
use crate::error::check;

/// When to open, for how long, and how to find back. See the [module](super) for how the values work
/// together.
#[derive(Clone, Debug, PartialEq)]
pub struct CircuitBreakerConfig {
    pub(crate) window: u32,
    pub(crate) min_calls: u32,
    pub(crate) failure_rate: f64,
    pub(super) slow_calls: Option<(Duration, f64)>,
    pub(crate) open_time: Duration,
    pub(crate) longest_open_time: Duration,
    pub(super) probes: u32,
    pub(super) when_open: WhenOpen,
}

/// What becomes of a call while the breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third thing to do with a call")]
pub enum WhenOpen {
    /// It fails at once with [`CircuitOpen`](super::CircuitOpen): for callers who have something better to
    /// do than wait.
    Reject,
    /// It waits until it may be a probe or the breaker closes: for background delivery. Bound the number
    /// of callers that can wait.
    Wait,
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            window: 10,
            min_calls: 5,
            failure_rate: 0.5,
            slow_calls: None,
            open_time: Duration::from_secs(1),
            longest_open_time: Duration::from_secs(10),
            probes: 1,
            when_open: WhenOpen::Reject,
        }
    }
}

impl CircuitBreakerConfig {
    /// How many of the latest results decide. Default 10: delivery makes few, large calls (two a second at
    /// 200 events/s), so ten are a few seconds of traffic. For a busy service use more.
    #[must_use]
    pub fn window(mut self, calls: u32) -> Self {
        self.window = calls;
        self
    }

    /// How many results there must be before any decide. Default 5: fewer say little.
    #[must_use]
    pub fn min_calls(mut self, calls: u32) -> Self {
        self.min_calls = calls;
        self
    }

    /// The share of failures in the window that opens, above 0 and up to 1. Default 0.5.
    #[must_use]
    pub fn failure_rate(mut self, share: f64) -> Self {
        self.failure_rate = share;
        self
    }

    /// Opens also when this share of calls took at least this long, all that lies below the breaker
    /// included (the wait for a token, too). Default off: a slow answer to a delivery is still a delivery,
    /// and opening would only make the queue longer.
    #[must_use]
    pub fn slow_calls(mut self, at_least: Duration, share: f64) -> Self {
        self.slow_calls = Some((at_least, share));
        self
    }

    /// How long to stay open at first, and at most. Default 1 s and 10 s: the second is the longest that a
    /// recovered service waits for its first call. A `Retry-After` may extend both.
    #[must_use]
    pub fn open_time(mut self, first: Duration, longest: Duration) -> Self {
        self.open_time = first;
        self.longest_open_time = longest;
        self
    }

    /// Calls that may be under way at once while half open. Default 1.
    #[must_use]
    pub fn probes(mut self, calls: u32) -> Self {
        self.probes = calls;
        self
    }

    /// Default [`WhenOpen::Reject`].
    #[must_use]
    pub fn when_open(mut self, what: WhenOpen) -> Self {
        self.when_open = what;
        self
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        check::within("circuit_breaker.window", self.window, 1, 100_000)?;
        check::within("circuit_breaker.min_calls", self.min_calls, 1, self.window)?;
        check::share("circuit_breaker.failure_rate", self.failure_rate)?;
        if let Some((at_least, share)) = self.slow_calls {
            check::duration(
                "circuit_breaker.slow_calls.at_least",
                at_least,
                check::MILLISECOND,
                check::HOUR,
            )?;
            check::share("circuit_breaker.slow_calls.share", share)?;
        }
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

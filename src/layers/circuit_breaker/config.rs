use std::sync::Arc;
use std::time::Duration;

use crate::ConfigError;
use crate::error::check;
use crate::rt::setters;

/// When a circuit breaker opens, for how long, and how it recovers. [`CircuitBreakerLayer`](super::CircuitBreakerLayer)
/// explains how the values work together.
#[derive(Clone, Debug, PartialEq)]
pub struct CircuitBreakerConfig {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) window: u32,
    pub(super) window_time: Duration,
    pub(crate) min_calls: u32,
    pub(crate) failure_rate: f64,
    pub(crate) open_time: Duration,
    pub(crate) longest_open_time: Duration,
    pub(super) probes: u32,
    pub(super) successes: Option<u32>,
    pub(crate) longest_probe: Duration,
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            name: None,
            window: 10,
            window_time: Duration::from_secs(3600),
            min_calls: 5,
            failure_rate: 0.5,
            open_time: Duration::from_secs(1),
            longest_open_time: Duration::from_secs(10),
            probes: 1,
            successes: None,
            longest_probe: Duration::from_secs(30),
        }
    }
}

impl CircuitBreakerConfig {
    /// Names the breaker in its log lines and by its [handle](super::CircuitBreakerHandle::name). By default it has no name.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many probes must succeed before the breaker closes. The default is the number of [`probes`](Self::probes). A
    /// failure among them opens it again at once.
    #[must_use]
    pub fn successes(mut self, calls: u32) -> Self {
        self.successes = Some(calls);
        self
    }

    setters! {
        /// How many of the latest results decide. The default is 10, because delivery makes few, large calls: two a second at
        /// 200 events/s, so ten are a few seconds of traffic. For a busy service use more.
        pub fn window(mut self, calls: u32 => window);

        /// How long a result counts. The default is 1 h: failures hours apart do not open the breaker, and a quiet client, with a
        /// call a minute, still has a full window to judge by. For a window of time alone, choose more results than that time
        /// brings: memory is 24 bytes for each, and a result costs the same however many there are.
        ///
        /// The time of a failure counts from the failure on. Reading the clock for each success would double the cost of a call,
        /// so the time of a success counts from the next failure on, or from the last of 16 successes in a row. A full window
        /// of successes is as old as the next failure.
        pub fn window_time(mut self, time: Duration => window_time);

        /// How many results there must be before the breaker can open. The default is 5, because fewer say little.
        pub fn min_calls(mut self, calls: u32 => min_calls);

        /// The share of failures in the window that opens the breaker, above 0 and up to 1. The default is 0.5.
        pub fn failure_rate(mut self, share: f64 => failure_rate);

        /// How long to stay open at first, and at most. The defaults are 1 s and 10 s. The second is the longest time that a
        /// recovered service waits for its first call. A `Retry-After` may extend both.
        pub fn open_time(mut self, first: Duration => open_time, longest: Duration => longest_open_time);

        /// How many calls may be in flight at once while the breaker is half open. The default is 1.
        pub fn probes(mut self, calls: u32 => probes);

        /// How long the probes may take, and how long an idle handle keeps a probe's permit. When all permits have been out for
        /// so long, the breaker opens again if a call hangs, and gives new permits if none is under way. The default is 30 s,
        /// longer than most timeouts below a breaker, which should end a call first.
        pub fn longest_probe(mut self, time: Duration => longest_probe);
    }

    /// Names the breaker unless it has a name, and gives its probes at least that time.
    pub(crate) fn around(mut self, name: &str, longest_call: Duration) -> Self {
        self.name.get_or_insert_with(|| name.into());
        self.longest_probe = self.longest_probe.max(longest_call);
        self
    }

    pub(super) fn needed_successes(&self) -> u32 {
        self.successes.unwrap_or(self.probes)
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
        check::duration(
            "circuit_breaker.window_time",
            self.window_time,
            check::MILLISECOND,
            24 * check::HOUR,
        )?;
        check::within("circuit_breaker.probes", self.probes, 1, 1000)?;
        check::within("circuit_breaker.successes", self.needed_successes(), 1, 1000)?;
        check::duration(
            "circuit_breaker.longest_probe",
            self.longest_probe,
            check::MILLISECOND,
            72 * check::HOUR,
        )
    }
}

use std::time::Duration;

use crate::ConfigError;
use crate::error::check;
use crate::layers::CircuitBreakerConfig;
use crate::rt::setters;

/// How long to wait for feature flags, and what stands in for them. [`Flags`](crate::Flags) tells how these work together.
///
/// A flag stands between a user and a page, so the defaults favour an answer in good time over a fresh one.
#[derive(Clone, Debug)]
pub struct FlagsConfig {
    pub(crate) timeout: Duration,
    pub(crate) persons: usize,
    pub(crate) age: Duration,
    pub(crate) circuit_breaker: CircuitBreakerConfig,
}

impl Default for FlagsConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(1),
            persons: 10_000,
            age: Duration::from_secs(24 * 3600),
            circuit_breaker: CircuitBreakerConfig::default(),
        }
    }
}

impl FlagsConfig {
    setters! {
        /// The longest time that a caller waits for PostHog. The default is 1 s, because a user waits for the page. The SDK
        /// waits 3 s.
        pub fn timeout(mut self, timeout: Duration => timeout);

        /// How many persons' last answers are cached, and for how long they may stand in. The default is 10,000 persons,
        /// about 10 MB with ten flags each, and 24 h, which is longer than an outage and shorter than an experiment. The age
        /// also bounds the definitions of [local evaluation](crate::PostHogBuilder::local_evaluation).
        ///
        /// A person counts once for each set of [`FlagOptions`](crate::FlagOptions).
        ///
        /// With a spool, the answers survive a restart. They are in the file `flags.last-known-good` in the spool's
        /// directory, which has a hash of each question and its answer. The file is written once a minute and at shutdown, up
        /// to 32 MiB, the latest answers first. Processes that share the directory overwrite each other's file and read each
        /// other's answers, so a directory is for one project, as it is for the spool.
        pub fn last_known_good(mut self, persons: usize => persons, age: Duration => age);

        /// The circuit breaker of flags, separate from that of delivery. The defaults are those of any
        /// [circuit breaker](crate::layers::CircuitBreakerLayer). It rejects calls while it is open, because callers do not
        /// wait for a flag then.
        ///
        /// A service with many flag requests a second can take a larger window, so that a handful of failures does not open
        /// the breaker.
        pub fn circuit_breaker(mut self, circuit_breaker: CircuitBreakerConfig => circuit_breaker);
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        check::duration("flags.timeout", self.timeout, check::MILLISECOND, check::HOUR)?;
        check::within("flags.last_known_good.persons", self.persons, 1, 10_000_000)?;
        check::duration("flags.last_known_good.age", self.age, check::MILLISECOND, check::HOUR * 24 * 365)
    }
}

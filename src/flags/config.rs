use std::time::Duration;

use crate::ConfigError;
use crate::error::check;
use crate::layers::CircuitBreakerConfig;

/// How feature flags are asked for.
#[derive(Clone, Debug)]
pub struct FlagsConfig {
    pub(super) timeout: Duration,
    pub(super) persons: usize,
    pub(super) age: Duration,
    pub(super) circuit_breaker: CircuitBreakerConfig,
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
    /// How long a caller waits for PostHog at most. Default 1 s: somebody waits for the page. The SDK waits 3 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// For how many persons what was last answered is kept, and how long it stands in. Default 10,000 persons, about
    /// 10 MB with ten flags each, and 24 h: longer than an outage, shorter than an experiment.
    ///
    /// With a spool it survives a restart, in the file `flags.last-known-good` in the spool's directory: for each person
    /// a hash of what was asked, and what was answered. It is written once a minute and at shutdown, up to 32 MiB, the
    /// latest first. Processes that share the directory overwrite one another's, and take one
    /// another's for their own: a directory is for one project, as the spool's is.
    #[must_use]
    pub fn last_known_good(mut self, persons: usize, age: Duration) -> Self {
        self.persons = persons;
        self.age = age;
        self
    }

    /// The defaults are those of any [circuit breaker](crate::layers::CircuitBreakerLayer). It rejects calls while it is
    /// open, because nobody waits for a flag.
    #[must_use]
    pub fn circuit_breaker(mut self, circuit_breaker: CircuitBreakerConfig) -> Self {
        self.circuit_breaker = circuit_breaker;
        self
    }

    pub(crate) fn breaker(&self) -> CircuitBreakerConfig {
        self.circuit_breaker.clone()
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        check::duration("flags.timeout", self.timeout, check::MILLISECOND, check::HOUR)?;
        check::within("flags.last_known_good.persons", self.persons, 1, 10_000_000)?;
        check::duration("flags.last_known_good.age", self.age, check::MILLISECOND, check::HOUR * 24 * 365)
    }
}

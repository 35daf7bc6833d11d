//! Stops calling a service that fails. The docs are those of [`CircuitBreakerLayer`].
//!
//! `breaker` is shared by all clones. Its `policy` decides on a `window` of results, `half_open` on who probes, `machine` is
//! failsafe's state machine, and `phase` and `open_until` are what calls read without the lock. A `permit` is the right to make
//! one call, and `service` the [gate](crate::layers::gate) before a service.

mod breaker;
mod config;
mod half_open;
mod handle;
#[cfg(test)]
mod loom_tests;
mod machine;
mod open_until;
mod permit;
mod phase;
mod policy;
mod service;
mod state;
mod sync;
#[cfg(test)]
mod tests;
mod window;

use std::time::Duration;

pub use config::CircuitBreakerConfig;
pub use handle::CircuitBreakerHandle;
pub use service::{CircuitBreaker, CircuitBreakerLayer};
pub use state::CircuitState;

use crate::{Error, ErrorKind};

/// A call was rejected because the circuit breaker is open. It did not reach the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("circuit breaker open{}", self.until_probe())]
#[non_exhaustive]
pub struct CircuitOpen {
    /// The time until the next probe is due, or `None` while probes are in flight or an operator keeps the breaker open.
    pub retry_in: Option<Duration>,
}

impl CircuitOpen {
    fn until_probe(&self) -> String {
        self.retry_in.map_or_else(String::new, |wait| format!(", next probe in {wait:.1?}"))
    }
}

/// The error has no source, because it says all of this itself, and so rejecting a call allocates nothing.
impl From<CircuitOpen> for Error {
    fn from(open: CircuitOpen) -> Self {
        Self::new(ErrorKind::CircuitOpen).with_retry_after(open.retry_in)
    }
}

//! Stops calling a service that fails, and finds out gently when it is back.
//!
//! The state machine is `failsafe`'s; the failure policy, the gate of the half-open state and the waiting
//! are this module's.
//!
//! ```text
//!            failure rate or slow-call rate reached
//!   ┌────────┐ ─────────────────────────────────► ┌──────┐
//!   │ closed │                                    │ open │ ◄──┐ a probe failed:
//!   └────────┘ ◄──────────┐                       └──────┘    │ open for longer
//!                 a probe │                          │ open time over
//!               succeeded │   ┌───────────┐          │        │
//!                         └── │ half open │ ◄────────┘        │
//!                             └───────────┘ ──────────────────┘
//! ```
//!
//! - **Closed.** Calls pass. The last `window` results decide: when at least `min_calls` of them are there
//!   and the share of failures (or of slow calls) reaches the threshold, the breaker opens. The window
//!   slides call by call, so a thousand old successes do not hide ten new failures, and recording costs
//!   the same however many calls it holds.
//! - **Open.** Calls are rejected with [`CircuitOpen`] at once, or wait ([`WhenOpen`]). The open time starts
//!   at 1 s and doubles with each failed probe up to 10 s, shortened by up to a tenth at random so that
//!   many clients do not probe in step. It never undercuts a `Retry-After` that a failure carried.
//! - **Half open.** `failsafe` alone would let everyone in; here exactly `probes` calls may be under way. A
//!   probe that is dropped before its end gives its permit back. The first success closes the breaker, a
//!   failure opens it again.
//!
//! What counts is the [`Verdict`](super::Verdict): only `Failed` is a failure. `Refused` is a success here
//! (the service is alive), `Throttled` counts as neither, so a breaker never opens on 429s. Results of calls
//! that began in an earlier state are ignored.
//!
//! # Defaults
//!
//! Half of the last 10 calls failed, 5 at least; open for 1 s doubling to 10 s; 1 probe; calls are rejected
//! while open. Each method of [`CircuitBreakerConfig`] tells the reason.
//!
//! # Cost
//!
//! Closed or rejected, a call asks the breaker for no memory. While the window holds successes alone, one more changes
//! nothing and is not recorded, which spares a healthy service's calls the lock; rejections are spared it too.
//! The clock is read for a call that passes only where [`slow_calls`](CircuitBreakerConfig::slow_calls) count.
//!
//! # Clone
//!
//! All services that one [`CircuitBreakerLayer`] or its clones produce, and its [handle](CircuitBreaker),
//! share one breaker.
//!
//! # Cancel safety
//!
//! Dropping a call records nothing and frees its permit; dropping a waiting call leaves the queue.
//!
//! # Time
//!
//! The open time runs on `failsafe`'s own clock (`std::time::Instant`), which a paused tokio clock does not
//! steer: in tests, configure milliseconds.
//!
//! ```
//! use posthog_health::Error;
//! use posthog_health::layers::{CircuitBreakerConfig, CircuitBreakerLayer, HttpStatus};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # async fn example(request: reqwest::Request) -> Result<(), Box<dyn std::error::Error>> {
//! let layer = CircuitBreakerLayer::new(CircuitBreakerConfig::default(), HttpStatus::default())?;
//! let breaker = layer.handle();
//! let service = ServiceBuilder::new().layer(layer).map_err(Error::from).service(reqwest::Client::new());
//! println!("{:?}", breaker.state());
//! let response = service.oneshot(request).await?;
//! # Ok(()) }
//! ```

mod breaker;
mod config;
mod handle;
#[cfg(test)]
mod interleavings;
mod machine;
mod open_until;
mod permit;
mod phase;
#[cfg(test)]
mod phase_tests;
mod policy;
mod service;
mod sync;
mod window;

pub use config::{CircuitBreakerConfig, WhenOpen};
pub use handle::{CircuitBreaker, State};
pub use service::{CircuitBreakerLayer, CircuitBroken};

use std::time::Duration;

use crate::{Error, ErrorKind};

/// A call was rejected because the circuit breaker is open. It reached nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("circuit breaker open{}", self.until_probe())]
#[non_exhaustive]
pub struct CircuitOpen {
    /// Time until the next probe is due. `None` while probes are under way.
    pub retry_in: Option<Duration>,
}

/// The error has no source, because it says all of this itself, and rejecting a call allocates nothing.
impl From<CircuitOpen> for Error {
    fn from(open: CircuitOpen) -> Self {
        Self::new(ErrorKind::CircuitOpen).with_retry_after(open.retry_in)
    }
}

impl CircuitOpen {
    fn until_probe(&self) -> String {
        self.retry_in.map_or_else(String::new, |wait| format!(", next probe in {wait:.1?}"))
    }
}

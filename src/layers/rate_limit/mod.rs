//! A token bucket that also pauses when the service asks for it. The docs are those of [`RateLimitLayer`].
//!
//! `bucket` is shared by all clones, with the `queue` of those who wait. A `token` is the right to make one call, and `service`
//! the [gate](crate::layers::gate) before a service.

mod bucket;
mod config;
#[cfg(test)]
mod loom_tests;
mod queue;
mod service;
mod sync;
mod token;

use std::time::Duration;

pub use config::RateLimitConfig;
pub use service::{RateLimit, RateLimitHandle, RateLimitLayer};

use crate::{Error, ErrorKind};

/// A call was rejected because it would have waited for its token for too long. It did not reach the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rate limit exceeded, next token in {retry_in:.1?}")]
#[non_exhaustive]
pub struct RateLimitExceeded {
    /// The time until there should be a token for this call.
    pub retry_in: Duration,
}

/// The error has no source, because it says all of this itself, and so rejecting a call allocates nothing.
impl From<RateLimitExceeded> for Error {
    fn from(exceeded: RateLimitExceeded) -> Self {
        Self::new(ErrorKind::RateLimitExceeded).with_retry_after(Some(exceeded.retry_in))
    }
}

//! A token bucket (GCRA, by `governor`) that also pauses when the service asks for it.
//!
//! A call waits for its token; nothing is rejected. When the service answers
//! [`Throttled`](super::Verdict::Throttled) (429), the bucket pauses: for as long as the service asked
//! (`Retry-After`), and without a hint for one second, doubling with each further 429 up to 30 s. A
//! [`Failed`](super::Verdict::Failed) (503) with a `Retry-After` pauses it too. When a pause is over, one call
//! goes ahead as a scout and the others wait for its answer, so that a pause does not end in a herd; the
//! first that it answers ends the episode. Waiting for a token is not part of an attempt: put a timeout below this
//! layer.
//!
//! # Defaults
//!
//! 50 calls a second with a burst of 100. PostHog documents no limit on its public endpoints; the number
//! bounds a runaway loop and the drain after an outage (at 100 events a call: 5,000 events/s).
//!
//! # Clone
//!
//! All services that one [`RateLimitLayer`] or its clones produce share one bucket and one pause,
//! and its [handle](RateLimiter) tells of them.
//!
//! # Cancel safety
//!
//! Dropping a waiting call takes no token. Dropping a call that has its token loses that one token; if it was
//! the scout, another call becomes the scout.
//!
//! ```
//! use posthog_health::Error;
//! use posthog_health::layers::{HttpStatus, RateLimitConfig, RateLimitLayer};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # async fn example(request: reqwest::Request) -> Result<(), Box<dyn std::error::Error>> {
//! // PostHog's private API: 240 a minute for analytics endpoints.
//! let layer = RateLimitLayer::new(RateLimitConfig::default().rate(4).burst(10), HttpStatus::default())?;
//! let service = ServiceBuilder::new().layer(layer).map_err(Error::from).service(reqwest::Client::new());
//! let response = service.oneshot(request).await?;
//! # Ok(()) }
//! ```

mod bucket;
mod config;
#[cfg(test)]
mod interleavings;
mod service;
mod sync;
mod token;

pub use config::RateLimitConfig;
pub use service::{RateLimit, RateLimitLayer, RateLimiter};

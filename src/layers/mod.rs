//! The protections, as [`tower`] layers for any service.
//!
//! Each layer asks a small [`Classify`] what an answer means and acts on the [`Verdict`] alone, so the
//! same four protect PostHog's capture endpoint here, PostHog's private API through your own
//! `reqwest::Client` ([`HttpStatus`] is the classifier for that), or anything else.
//!
//! | layer | what it does | clones share |
//! |---|---|---|
//! | [`retry`] | tries again with exponential backoff, full jitter and a budget | the budget |
//! | [`circuit_breaker`] | stops calling a service that fails | everything |
//! | [`rate_limit`] | token bucket, pauses when the service says "slow down" | everything |
//! | [`observe`] | shows each attempt's latency and result | what the observer shares |
//!
//! [`delivery_stack`] composes them in the one order that makes sense. The same by hand, round a plain
//! client:
//!
//! ```
//! use posthog_health::Error;
//! use posthog_health::layers::{
//!     CircuitBreakerConfig, CircuitBreakerLayer, HttpStatus, RateLimitConfig, RateLimitLayer, RetryConfig, RetryLayer,
//! };
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let service = ServiceBuilder::new()
//!     .layer(RetryLayer::new(RetryConfig::default(), HttpStatus::default())?)
//!     .layer(CircuitBreakerLayer::new(CircuitBreakerConfig::default(), HttpStatus::default())?)
//!     .layer(RateLimitLayer::new(RateLimitConfig::default(), HttpStatus::default())?)
//!     .map_err(Error::from)
//!     .service(reqwest::Client::new());
//!
//! let request = reqwest::Request::new(reqwest::Method::GET, "http://localhost:8000/api/projects/".parse()?);
//! let response = service.oneshot(request).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # When it does not compile
//!
//! Each layer needs a [`Classify`] for what comes out of the service below it, and the circuit breaker an error that can
//! say "circuit open" (`From<CircuitOpen>`). `reqwest::Error` is neither, and without the line `map_err(Error::from)`
//! the compiler says that `Retry<…>` is no `Service`, or that `HttpStatus` does not tell what a `reqwest::Error` means:
//!
//! ```compile_fail,E0277
//! # use posthog_health::layers::{CircuitBreakerConfig, CircuitBreakerLayer, HttpStatus};
//! # use tower::{Service, ServiceBuilder};
//! # fn call<S: Service<reqwest::Request>>(_: S) {}
//! # let layer = CircuitBreakerLayer::new(CircuitBreakerConfig::default(), HttpStatus::default()).unwrap();
//! call(ServiceBuilder::new().layer(layer).service(reqwest::Client::new()));
//! ```
//!
//! For a service of another kind implement [`Classify`] for a type of yours, and for [`retry`] also [`Replay`] for its
//! requests.

mod classify;
mod gated;
#[cfg(test)]
mod orders;
mod stack;

pub mod circuit_breaker;
pub mod observe;
pub mod rate_limit;
pub mod retry;

pub use circuit_breaker::{CircuitBreaker, CircuitBreakerConfig, CircuitBreakerLayer, CircuitOpen, WhenOpen};
pub use classify::{Classify, HttpStatus, Verdict, retry_after};
pub use gated::ResponseFuture;
pub use observe::{Observe, ObserveLayer};
pub use rate_limit::{RateLimitConfig, RateLimitLayer, RateLimiter};
pub use retry::{Replay, Retries, RetryConfig, RetryLayer};
pub use stack::{DeliveryLayers, delivery_stack};

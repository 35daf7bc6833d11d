//! The protections, as [`tower`] layers for any service.
//!
//! Each layer asks a small [`Classify`] what a result means and acts on the [`Verdict`] alone. So the same layers protect
//! delivery in this crate, an API that you call through your own `reqwest::Client` ([`HttpStatus`] is the classifier for
//! that), or anything else. They know nothing of the service, and their errors do not name it.
//!
//! | layer | what it does | clones share |
//! |---|---|---|
//! | [`RetryLayer`] | tries again with exponential backoff, full jitter and a budget | the budget |
//! | [`CircuitBreakerLayer`] | stops calling a service that fails | everything |
//! | [`RateLimitLayer`] | limits calls by a token bucket, and pauses when the service says "slow down" | everything |
//! | [`ObserveLayer`] | shows each attempt's latency and result | what the observer shares |
//!
//! The page of each layer has its behaviour, its defaults and their reasons. Each comes with its `…Config`, the service that
//! it makes (`CircuitBreaker`, `RateLimit`, …), and a `…Handle` that reads its state.
//!
//! [`delivery_stack`] composes them, with a timeout, in the one order that makes sense. This is the same by hand, around a
//! plain client:
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
//! Each layer needs a [`Classify`] for the results of the service below it, and the circuit breaker needs an error that can
//! be made from a [`CircuitOpen`]. `reqwest::Error` has neither. Without the line `map_err(Error::from)` the compiler says
//! that `Retry<…>` is no `Service`, or that `HttpStatus` does not tell what a `reqwest::Error` means:
//!
//! ```compile_fail,E0277
//! # use posthog_health::layers::{CircuitBreakerConfig, CircuitBreakerLayer, HttpStatus};
//! # use tower::{Service, ServiceBuilder};
//! # fn call<S: Service<reqwest::Request>>(_: S) {}
//! # let layer = CircuitBreakerLayer::new(CircuitBreakerConfig::default(), HttpStatus::default()).unwrap();
//! call(ServiceBuilder::new().layer(layer).service(reqwest::Client::new()));
//! ```
//!
//! For another kind of service, implement [`Classify`] for a type of yours, and [`Replay`] for its requests if you retry.

mod circuit_breaker;
mod classify;
mod gate;
#[cfg(test)]
mod loom_support;
mod observe;
mod rate_limit;
mod retry;
mod stack;

pub use circuit_breaker::{
    CircuitBreaker, CircuitBreakerConfig, CircuitBreakerHandle, CircuitBreakerLayer, CircuitOpen,
    CircuitState,
};
pub use classify::{Classify, HttpStatus, Verdict, retry_after};
pub use gate::{GatedFuture, WaitIn};
pub use observe::{Observe, ObserveLayer, Observed, ObservedFuture};
pub use rate_limit::{RateLimit, RateLimitConfig, RateLimitExceeded, RateLimitHandle, RateLimitLayer};
pub(crate) use retry::backoff;
pub use retry::{Replay, ReplayWith, Replayed, RetryConfig, RetryHandle, RetryLayer, RetryPolicy};
pub use stack::{DeliveryLayers, delivery_stack};

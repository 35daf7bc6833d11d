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
//! # In your stack
//!
//! | around | example | to note |
//! |---|---|---|
//! | `reqwest::Client` | [layers_reqwest] | |
//! | a client of hyper-util | [layers_hyper], with [`delivery_stack`] | a body that is not `Clone`, as axum's, is sent once: `replay_with(\|_\| None)` |
//! | the calls of a tonic client | [layers_tonic] | failures have HTTP status 200, so a closure classifies the `Status`, from headers and trailers alike |
//! | the handlers of an axum router | [layers_axum] | `HandleErrorLayer` turns rejections into answers |
//! | each of many hosts | [layers_per_host] | a bounded map of stacks, because a layer and its clones share one breaker and one bucket |
//!
//! Calls that may not pass yet wait in their future, or the service is not ready. [`WaitIn`] has the trade-offs under
//! `LoadShed`, `Buffer` and `Balance`.
//!
//! # When it does not compile
//!
//! The circuit breaker and the rate limit add errors of their own, so they need a service whose error can be made from a
//! [`CircuitOpen`] and a [`RateLimitExceeded`]. `reqwest::Error` cannot. Without the line `map_err(Error::from)` the compiler
//! says that the trait bound `reqwest::Error: From<CircuitOpen>` is not satisfied:
//!
//! ```compile_fail,E0277
//! # use posthog_health::layers::{CircuitBreakerConfig, CircuitBreakerLayer, HttpStatus};
//! # use tower::{Service, ServiceBuilder};
//! # fn call<S: Service<reqwest::Request>>(_: S) {}
//! # let layer = CircuitBreakerLayer::new(CircuitBreakerConfig::default(), HttpStatus::default()).unwrap();
//! call(ServiceBuilder::new().layer(layer).service(reqwest::Client::new()));
//! ```
//!
//! `tower::BoxError` can be made from both, whatever the service is: `map_err(BoxError::from)`.
//!
//! [`HttpStatus`] classifies the responses of reqwest and those of `http`, which hyper, tonic and axum use. For another kind of
//! response, use a closure that names the types of its argument, or implement [`Classify`] for a type of yours. To retry requests
//! that are neither reqwest's nor those of `http` with a body that is `Clone`, use [`RetryLayer::replay_with`], or implement
//! [`Replay`].
//!
//! # Beside other layers
//!
//! tower-resilience 0.13 has a circuit breaker, a rate limiter and a retry too, and tower 0.5 has the latter two. The entries are
//! from their sources and documentation. [`benches/layers`] compares the costs.
//!
//! | | these layers | tower-resilience | tower |
//! |---|---|---|---|
//! | **Circuit breaker** | yes | yes | none |
//! | opens by | failures among the last calls within a time | failures among all calls since its last change, or within a time; failures in a row; slow calls | |
//! | classification | success, refused, throttled, failed, not attempted | failure or not | |
//! | errors of `poll_ready` | count | do not count | |
//! | open time | grows with each failed probe, at random a tenth shorter, never below a `Retry-After` | fixed | |
//! | while open | rejects, waits in the call, or is not ready | rejects, or is not ready | |
//! | a service that is open and not ready | rejects at once | rejects at once | |
//! | half open | a number of probes at once, and a number of successes | one number for both | |
//! | a probe that is dropped | returns its permit | returns its permit | |
//! | a probe that hangs | reopens the breaker after a time | keeps it half open until it ends | |
//! | `Ready` while half open | reserves the permit, for a time | reserves nothing; a call that loses the race is rejected | |
//! | manual control | force open, force closed, reset | the same, a mode without automatic changes, triggers from health checks | |
//! | fallback for rejected calls | no: map the error | `with_fallback` | |
//! | **Rate limit** | yes | yes | yes |
//! | algorithm | GCRA with burst | fixed window (default), sliding log, sliding counter, token bucket | fixed window |
//! | shared by clones | yes | yes | not `Clone`: put a `Buffer` above |
//! | order of waiting calls | first come, first served | any: all wake and compete | that of the `Buffer` |
//! | wakes for each token | one | all waiting calls | one |
//! | where calls wait | in the call, or not ready | in the call, or not ready | not ready |
//! | longest wait | none by default; then rejects | 100 ms by default; then rejects | none |
//! | a waiting call | holds no reservation of the service below | holds its reservation | holds its place in the `Buffer` |
//! | 429 and `Retry-After` | pause the bucket; one call goes ahead as a scout | no | no |
//! | **Retry** | yes | yes | with a policy of yours |
//! | retries by | the same classification | predicates on error and response | policy |
//! | backoff | exponential with full jitter above a floor | fixed, exponential, randomized, or a function | exponential with jitter, for your policy |
//! | `Retry-After` | is the least wait | no | policy |
//! | budget | always: a share of the calls | optional: token bucket or AIMD | share of the calls, for your policy |
//! | attempts for each request | no | `max_attempts_fn` | policy |
//! | a request that cannot be cloned | is sent once | does not compile | policy |
//! | **All** | | | |
//! | errors | those of the service below | an enum around them for each layer, and `ResilienceError` for all | those of the service below; `BoxError` |
//! | futures | have a type; a call that passes allocates nothing in the layers above | boxed: two or three allocations for each layer | have a type |
//! | services of one layer share their state | yes | with `build_with_handle()`; otherwise only clones of a service do | |
//! | counts, state | handles; the state can be watched | handles; callbacks for each event; the `metrics` facade | |
//! | log lines | `tracing`, once for each episode | `tracing`, for each call and change | `tracing`, at level trace |
//! | response bodies | not seen | not seen | not seen |
//! | further layers | observer | bulkhead, adaptive concurrency, hedging, cache, coalescing, fallback, outlier detection, health checks, time limiter, reconnect, router, executor, chaos | timeout, concurrency limit, load shedding, buffer, balance, hedging, filter, reconnect |
//! | dependencies | those of this crate, which is made for PostHog | a small crate for each pattern | a feature for each layer |
//!
//! [layers_reqwest]: https://docs.rs/crate/posthog-health/latest/source/examples/layers_reqwest.rs
//! [layers_hyper]: https://docs.rs/crate/posthog-health/latest/source/examples/layers_hyper.rs
//! [layers_tonic]: https://docs.rs/crate/posthog-health/latest/source/examples/layers_tonic/main.rs
//! [layers_axum]: https://docs.rs/crate/posthog-health/latest/source/examples/layers_axum.rs
//! [layers_per_host]: https://docs.rs/crate/posthog-health/latest/source/examples/layers_per_host.rs
//! [`benches/layers`]: https://docs.rs/crate/posthog-health/latest/source/benches/README.md

mod circuit_breaker;
mod classify;
mod gate;
#[cfg(test)]
mod loom_support;
mod observe;
mod rate_limit;
mod retry;
mod stack;
mod timeout;

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
pub(crate) use timeout::TimeoutLayer;

//! Tries again: exponential backoff, full jitter, a budget.
//!
//! The wait before attempt *n* is drawn evenly from zero to `base · 2ⁿ⁻¹`, capped
//! ([full jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)), so that
//! clients that failed together do not come back together. A `Retry-After` is the floor of that wait:
//! no retry ever comes earlier than the service asked.
//!
//! # Why a budget beside the number of attempts
//!
//! Attempts bound one call; a budget bounds them all: retries never exceed a share of the traffic (20 % by
//! default, and one a second so that a quiet client may retry at all), so that an outage does not multiply
//! the load that may have caused it. See [`tower::retry::budget`]. Waits that the service named spend no
//! budget: it chose the time itself. A call that an open circuit breaker rejected is returned at once and
//! spends neither attempts nor budget.
//!
//! # Defaults
//!
//! Three attempts, 500 ms doubling to 30 s. Attempts end early on purpose: whoever stands above (in this
//! crate the queue) knows better what to do with a request that failed for long.
//!
//! # Clone
//!
//! All services that one [`RetryLayer`] or its clones produce share one budget and one [count of retries](Retries). Attempts are counted for
//! each call alone.
//!
//! # Cancel safety
//!
//! Dropping the future abandons the attempt or the wait that is under way, and nothing else.
//!
//! ```
//! use posthog_health::Error;
//! use posthog_health::layers::{HttpStatus, RetryConfig, RetryLayer};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # async fn example(request: reqwest::Request) -> Result<(), Box<dyn std::error::Error>> {
//! let layer = RetryLayer::new(RetryConfig::default().attempts(5), HttpStatus::default())?;
//! let service = ServiceBuilder::new().layer(layer).map_err(Error::from).service(reqwest::Client::new());
//! let response = service.oneshot(request).await?;
//! # Ok(()) }
//! ```

mod backoff;
mod budget;
mod config;
mod policy;

pub(crate) use backoff::full_jitter;
pub use config::RetryConfig;
pub use policy::{Replay, Retries, RetryLayer, RetryPolicy};

//! A token bucket that also pauses when the service asks for it. The docs are those of [`RateLimitLayer`].
//!
//! `bucket` is shared by all clones, and a `token` is the right to make one call.

mod bucket;
mod config;
#[cfg(test)]
mod loom_tests;
mod service;
mod sync;
mod token;

pub use config::RateLimitConfig;
pub use service::{RateLimit, RateLimitHandle, RateLimitLayer};

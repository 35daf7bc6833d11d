//! Tries again. The docs are those of [`RetryLayer`].

mod backoff;
mod budget;
mod config;
mod policy;

pub(crate) use backoff::backoff;
pub use config::RetryConfig;
pub use policy::{Replay, ReplayWith, Replayed, RetryHandle, RetryLayer, RetryPolicy};

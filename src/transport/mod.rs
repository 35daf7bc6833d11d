//! The way to PostHog: bodies and requests. Knows HTTP, knows nothing of queues.

mod http;
mod wire;

#[cfg(feature = "preflight")]
pub(crate) use http::exchange;
pub(crate) use http::{Capture, client, endpoint, is_loopback, post};
pub(crate) use wire::{Batch, ENVELOPE_BYTES, timestamp};

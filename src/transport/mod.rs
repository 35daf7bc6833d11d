//! The way to PostHog: bodies and requests. Knows HTTP, knows nothing of queues.

mod http;
mod wire;

pub(crate) use http::{Capture, LONGEST_ANSWER, client, endpoint, is_loopback, post, send};
pub(crate) use wire::{Batch, ENVELOPE_BYTES, timestamp};

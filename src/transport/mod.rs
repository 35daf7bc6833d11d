//! The way to PostHog: bodies and requests. Knows HTTP, knows nothing of queues.

mod capture;
#[cfg(test)]
mod fuzz;
mod gzip;
mod http;
mod timestamp;
mod wire;

pub(crate) use capture::Capture;
pub(crate) use gzip::Compressors;
pub(crate) use http::{LONGEST_ANSWER, client, endpoint, is_loopback, post, send};
pub(crate) use timestamp::{Timestamps, timestamp};
pub(crate) use wire::{Batch, ENVELOPE_BYTES};

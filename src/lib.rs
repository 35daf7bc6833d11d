//! PostHog for services, production-grade by construction.

#![forbid(unsafe_code)]

#[cfg(feature = "testing")]
pub mod testing;

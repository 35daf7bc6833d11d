//! The ground floor: small helpers that know nothing of PostHog, for every module above.

#[cfg_attr(not(feature = "metrics"), path = "metrics/disabled.rs")]
pub mod metrics;
pub mod target;

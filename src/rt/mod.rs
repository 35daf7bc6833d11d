//! The ground floor: helpers that know nothing of PostHog, and that every other module may use.

#[cfg_attr(not(feature = "metrics"), path = "metrics/disabled.rs")]
pub mod metrics;

//! The ground floor: small helpers that know nothing of PostHog, for every module above.

pub mod single_flight;
pub mod target;

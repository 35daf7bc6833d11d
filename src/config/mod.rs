//! Configuration: the builder, where its values come from, and what makes them impossible.

mod builder;
pub(crate) mod check;
mod credentials;
mod env;
#[cfg(test)]
mod fuzz;
mod host;
#[cfg_attr(not(feature = "preflight"), path = "no_preflight.rs")]
mod reviewed;
mod sdk;

pub use builder::PostHogBuilder;
pub(crate) use builder::{Enrichment, Settings};
pub(crate) use reviewed::Reviewed;
#[cfg(feature = "preflight")]
pub(crate) use reviewed::Unbuilt;

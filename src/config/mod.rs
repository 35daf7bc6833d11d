//! Configuration: the builder, where its values come from, and what makes them impossible. [`settings`] has the defaults;
//! their reasons stand at the builder's methods, which are in files by what they are about.

mod builder;
#[cfg(test)]
mod defaults_tests;
mod delivery;
mod env;
mod events;
#[cfg(test)]
mod fuzz;
mod health;
mod host;
#[cfg_attr(not(feature = "preflight"), path = "no_preflight.rs")]
mod reviewed;
mod sdk;
mod settings;
#[cfg(feature = "spool")]
mod spool;

pub use builder::PostHogBuilder;
pub(crate) use reviewed::Reviewed;
#[cfg(feature = "preflight")]
pub(crate) use reviewed::Unbuilt;
pub(crate) use settings::{Enrichment, Settings};

//! Configuration: the builder, where its values come from, and what makes them impossible.

mod builder;
pub(crate) mod check;
mod env;
mod host;

pub use builder::PostHogBuilder;
pub(crate) use builder::{Enrichment, Settings};

//! Configuration: the builder, where its values come from, and what makes them impossible.

mod builder;
pub(crate) mod check;
mod credentials;
mod env;
mod host;
mod sdk;

pub use builder::PostHogBuilder;
pub(crate) use builder::{Enrichment, Settings};

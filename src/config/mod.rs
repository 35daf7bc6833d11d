//! Configuration. [`PostHogBuilder`] collects it, [`environment`] and [`host`] parse what is given as text, and
//! [`Settings`] has the defaults. The reason for each default stands at its builder method.
//!
//! Nothing is started here: `client` builds a client from a [`Configuration`], and `preflight` judges one.

mod builder;
mod environment;
#[cfg(test)]
mod fuzz;
mod host;
mod settings;

pub use builder::{Configuration, PostHogBuilder};
pub(crate) use settings::{Enrichment, Settings};

//! Feature flags that degrade. [`Flags`] tells the story, and [`FlagsConfig`] has its numbers.
//!
//! A question's walk through the files: [`client`] takes the [`options`], asks the [`definitions`], whose [`local`]
//! evaluation needs no request, sends what is left through the [`stack`], falls back to [`last_known_good`], which is a
//! [`cache`] in memory and [`persisted`] on disk, and returns a [`snapshot`], which reports each [`exposure`].

mod answer;
mod cache;
mod client;
mod config;
mod definitions;
mod evaluated;
mod exposure;
mod flag;
#[cfg(test)]
mod fuzz;
mod last_known_good;
mod local;
mod options;
#[cfg_attr(not(feature = "spool"), path = "persisted/disabled.rs")]
mod persisted;
mod snapshot;
mod stack;

pub use client::{FlagsClient, FlagsParts};
pub use config::FlagsConfig;
pub use flag::{Flag, FlagSource};
pub use options::FlagOptions;
pub use snapshot::Flags;

//! Events on disk.
//!
//! A [`Directory`](directory) gives each process a file of its own, a [`Store`](store) is what lies in it, and
//! [`record`] is the form in which it lies there: each record can be told from noise without the rest of the
//! file, which is what [`salvage`] lives on.

mod adoption;
mod backend;
mod changes;
mod config;
mod directory;
#[cfg(test)]
mod faults;
mod files;
mod guard;
mod keeper;
mod open;
mod record;
mod salvage;
mod state;
mod store;
mod tables;
#[cfg(test)]
mod tests;
mod transaction;

pub(super) use changes::{Applied, Changes, Contents, Fill, Stored};
pub use config::{SpoolConfig, SpoolMode};
pub(crate) use keeper::Spool;

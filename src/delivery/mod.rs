//! An event's walk: admit, queue, encode, batch, send. In the order of the files:
//! [`admit`] decides whether an event may enter, [`queue`] holds all that is on its way and the [`ledger`]
//! that counts it, [`encode`] makes wire bytes, [`worker`] sends them and looks for what made PostHog reject
//! a batch, and [`dead_letter`] keeps that. The [`spool`] keeps on disk what is in the queue, and more.

#![cfg_attr(not(feature = "spool"), allow(dead_code, reason = "what only the spool uses"))]

mod admit;
mod dead_letter;
mod encode;
mod event;
mod ledger;
mod queue;
#[cfg_attr(not(feature = "spool"), path = "no_spool.rs")]
mod spool;
mod typed_event;
mod worker;

pub use dead_letter::DeadLetter;
pub(crate) use dead_letter::DeadLetterLimits;
pub(crate) use encode::{Encoder, Hook};
pub use event::AnyEvent;
pub use ledger::{DropReason, Drops, Ledger};
pub(crate) use queue::{Limits, Queue, Snapshot};
pub use queue::{Overflow, QueueFill, SpoolHealth, SpoolIssue, SpoolState};
pub(crate) use spool::Spool;
#[cfg(not(feature = "spool"))]
pub(crate) use spool::SpoolConfig;
#[cfg(feature = "preflight")]
pub(crate) use spool::SpoolLook;
#[cfg(feature = "spool")]
pub use spool::{SpoolConfig, SpoolMode};
#[cfg(feature = "spool")]
pub(crate) use spool::{create_directory, open_file, sync_directory};
pub use typed_event::{PropertiesError, TypedEvent};
pub(crate) use worker::{Pacing, Worker};

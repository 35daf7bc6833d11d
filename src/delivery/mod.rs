//! An event's walk: admit, queue, encode, batch, send. In the order of the files:
//! [`admit`] decides whether an event may enter, [`queue`] holds all that is on its way and the [`ledger`]
//! that counts it, [`encode`] makes wire bytes, [`worker`] sends them and looks for what made PostHog reject
//! a batch, and [`dead_letter`] keeps that.

mod admit;
mod dead_letter;
mod encode;
mod ledger;
mod parts;
mod queue;
mod worker;

pub use dead_letter::DeadLetter;
pub(crate) use dead_letter::DeadLetterLimits;
pub(crate) use encode::{Encoder, Hook};
pub use ledger::{DropReason, Drops, Ledger};
pub(crate) use queue::{Limits, Queue, Snapshot};
pub use queue::{Overflow, QueueFill};
pub(crate) use worker::{Pacing, Worker};

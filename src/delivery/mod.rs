//! An event's walk, in the order of the files: [`producer`] lets it in, [`hooks`] may change it, [`encode`] makes its wire
//! bytes, [`queue`] holds all that is on its way beside the [`ledger`] that counts it, and [`worker`] sends it and looks for
//! what made PostHog reject a batch, which [`dead_letter`] keeps. The [`spool`] keeps on disk what is in the queue, and
//! more.

mod admit;
mod dead_letter;
mod encode;
mod enrichment;
mod event;
mod hooks;
mod json;
#[cfg(feature = "error-tracking")]
mod last_event;
mod ledger;
mod parts;
mod producer;
mod queue;
mod scratch;
#[cfg_attr(not(feature = "spool"), path = "spool/disabled.rs")]
mod spool;
mod typed_event;
mod worker;

pub use dead_letter::{DeadLetter, DeadLetterLimits};
pub use encode::Encoder;
pub use event::AnyEvent;
pub use hooks::Hooks;
pub use ledger::{DropReason, Drops, Ledger};
pub use producer::Producer;
pub use queue::{Limits, Overflow, Queue, QueueFill, Snapshot, SpoolHealth, SpoolIssue, SpoolState};
#[cfg(all(test, feature = "spool"))]
pub use spool::Faults;
#[cfg(feature = "preflight")]
pub use spool::SpoolInspection;
#[cfg(feature = "simulation")]
pub use spool::{Claim, Disk, Identity, Metadata, Readable, used_by};
pub use spool::{Spool, SpoolConfig};
#[cfg(feature = "spool")]
pub use spool::{SpoolMode, create_directory, open_file, sync_directory};
pub use typed_event::{PropertiesError, TypedEvent};
#[cfg(feature = "metrics")]
pub use worker::VerdictKind;
pub use worker::{
    AttemptClassifier, Dispatcher, DispatcherLinks, Forgiven, Pacing, SlotService, VerdictCounts, Worker,
    attempts,
};

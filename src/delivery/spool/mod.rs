//! Events on disk.
//!
//! # Constraints
//!
//! Nothing about a disk may stop the service, so a [`thread`] of its own, the [`keeper`]'s, alone touches it, and the
//! queue goes on without it. Events are stored, not requests, since each attempt needs a fresh `sent_at`. Live
//! events do not wait for what lies here. Nothing is sent by two processes.
//!
//! # Walk
//!
//! The keeper asks the queue for [work](super::queue::SpoolWork): what to write, what has ended, what memory has
//! forgotten, whether to read some back. A round of it is one transaction with one `fsync`, whoever and however many
//! wait for it: that is the group commit. An event stays in the [`store`] until it is delivered, dropped or a
//! dead letter, and is *held*, not to be read again, as long as memory has it too. The counts that it writes
//! are taken under the same lock as the work, so on disk, too, the ledger's equation holds: what is missing when
//! a file is opened was in memory only.
//!
//! # Format
//!
//! One redb file a process, in a [`directory`] of slots. Tables of events, of dead letters, of attempts, and of
//! the counts, the keys being the events' numbers, which rise with the time of capture across processes. Each
//! value is a [`record`], which can be told from noise without the rest of the file: [`salvage`] lives on that
//! when the tree is damaged.
//!
//! # What a crash can cost
//!
//! Events that no round had written. Up to a second of what was delivered may be delivered again, and up to a
//! chunk of what was being taken over from another process's file ([`takeover`]).

mod backend;
mod changes;
mod config;
mod directory;
mod files;
#[cfg(test)]
mod fuzz;
mod guard;
#[cfg(feature = "preflight")]
mod inspect;
mod keeper;
mod open;
mod quarantine;
mod record;
mod salvage;
mod state;
mod store;
mod tables;
mod takeover;
#[cfg(test)]
mod tests;
mod thread;
mod transaction;

pub use changes::{Applied, Changes, Contents, Fill, Stored};
pub use config::{SpoolConfig, SpoolMode};
pub use files::{create_directory, open_file, sync_directory};
#[cfg(feature = "preflight")]
pub use inspect::SpoolInspection;
pub use thread::Spool;

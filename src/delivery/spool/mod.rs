//! Events on disk.
//!
//! # Constraints
//!
//! A failing or hanging disk must not stop the service. So only the [`thread`] of the [`keeper`] touches our file, another
//! one watches it and gives the disk up after two seconds, and the queue works without both. Files that other processes left
//! are opened, checked and read by threads of their own, because they may be large. The spool stores events and not requests, because each attempt needs a fresh `sent_at`. Live
//! events do not wait for events on disk. No event is sent by two processes.
//!
//! # Walk
//!
//! The keeper asks the queue for [work](super::queue::SpoolWork): which events to write, which are settled, which memory
//! has released, and whether to read some back. A round of work is one transaction with one `fsync`, however many callers
//! wait for it, which makes it a group commit. An event stays in the [`store`] until it is delivered, dropped or a dead
//! letter. As long as memory has the event too, it is *held*, and is not read again. The counts are taken under the same
//! lock as the work, so the ledger's equation holds on disk too. If events are missing when a file is opened, they were in
//! memory only.
//!
//! # Format
//!
//! Each process has one redb file, in a [`directory`] of slots. The file has tables of events, of dead letters and of
//! attempts, and one of the counts, with the time of the last write by the spool's own [`clock`]. An event's key is its `seq`, which rises with the time of capture across processes.
//! Each value is a [`record`], which can be recognized without the rest of the file. [`salvage`] relies on that when the
//! tree is damaged.
//!
//! # A failed `fsync`
//!
//! After a failed `fsync`, reads may return what is not on disk, and no later `fsync` writes it. So the file is
//! [written anew](rewrite) from what it shows, under a new inode, before anything else is written. A process that ends
//! before that leaves the file to the next one, which cannot know.
//!
//! # What a crash can cost
//!
//! A crash loses the events that no round had written. The next process counts them by the last note beside the file, which
//! is up to 20 ms old, or after a loss of power by the file, which is up to 10 s old. The deliveries of up to a second may be repeated, and so may up to a
//! chunk of events that were being taken over from another process's file ([`takeover`]).

mod backend;
mod changes;
mod clock;
mod config;
mod directory;
mod disk;
mod files;
#[cfg(test)]
mod fuzz;
mod guard;
#[cfg(feature = "preflight")]
mod inspect;
mod keeper;
mod open;
mod overlay;
mod quarantine;
mod record;
mod rewrite;
mod salvage;
mod slot;
mod state;
mod store;
mod tables;
mod taint;
mod takeover;
#[cfg(test)]
mod tests;
mod thread;
mod transaction;

pub use changes::{Applied, Changes, Contents, Fill, Stored};
pub use clock::SteadyClock;
pub use config::{SpoolConfig, SpoolMode};
#[cfg(feature = "simulation")]
pub use disk::{Claim, Disk, Identity, Metadata, Readable, used_by};
pub use files::{create_directory, open_file, sync_directory};
#[cfg(feature = "preflight")]
pub use inspect::SpoolInspection;
#[cfg(test)]
pub use tests::Faults;
pub use thread::Spool;

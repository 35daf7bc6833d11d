//! What goes into a store and comes out of it.

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;

use super::state::State;
use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::ledger::{DropReason, Totals};

/// An event as it lies on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub seq: u64,
    /// Of its capture, in milliseconds since 1970: by the spool's clock on disk, by that of its process in memory.
    pub at: u64,
    pub attempts: u32,
    pub json: Bytes,
}

/// What one transaction changes: all of it or nothing.
#[derive(Debug, Default)]
pub struct Changes {
    /// Events to write, in rising order of `seq`. An event on disk is overwritten, and a dead letter of the same `seq` is
    /// removed.
    pub put: Vec<Stored>,
    /// Events that are delivered or dropped. They may be missing on disk.
    pub settle: Vec<u64>,
    /// How often these events were tried. They may be missing on disk.
    pub attempts: Vec<(u64, u32)>,
    /// Events that become dead letters, whether they were on disk or not.
    pub dead_letter: Vec<(u64, DeadLetter)>,
    /// Dead letters that are removed.
    pub discard: Vec<u64>,
    /// The totals after this transaction. The events that the transaction itself drops are added on disk, and reported in
    /// [`Applied`].
    pub totals: Totals,
}

/// What a transaction did beyond its [`Changes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// How many of the events to write were written, counted from the first. If not all were, the store is full.
    pub written: usize,
    /// Evicted as the oldest, to make room.
    pub full: u64,
    /// Evicted because of their age.
    pub expired: u64,
    /// Removed because they could not be read.
    pub damaged: u64,
}

/// What a file held when it was opened.
#[derive(Debug, Default)]
pub struct Contents {
    /// The totals after reconciliation: `captured = delivered + dropped + events + dead letters`, all of them on disk.
    pub totals: Totals,
    pub dead: Vec<(u64, DeadLetter)>,
    /// How many events of `totals` were missing.
    pub crashed: u64,
    /// The highest `seq` of an event or a dead letter.
    pub last: Option<u64>,
}

impl Contents {
    /// Reconciles the counts with what is there.
    pub fn count(&mut self, state: State) {
        let crashes = |totals: &Totals| totals.dropped.count(DropReason::Crash);
        self.totals = state.reconciled(self.dead.len() as u64);
        self.crashed = crashes(&self.totals) - crashes(&state.totals);
    }
}

/// How full a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    pub events: u64,
    /// Of the events' records.
    pub bytes: u64,
    pub file_bytes: u64,
}

/// The `seq`s of the events that are on disk and in memory.
pub type Held = BTreeSet<u64>;

/// Why a store cannot be opened or used.
#[derive(Debug)]
pub enum StoreError {
    /// Another process has the file.
    Locked,
    /// A later version of this crate wrote the file.
    Newer,
    /// The file does not read as what was written.
    Damaged(String),
    Io(io::Error),
}

#[derive(Debug, Default)]
pub struct Damaged {
    pub events: BTreeSet<u64>,
    pub dead: Vec<u64>,
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Io(error) => error,
            StoreError::Locked => Self::new(io::ErrorKind::ResourceBusy, "another process has the file"),
            StoreError::Newer => Self::new(io::ErrorKind::Unsupported, "a later version wrote the file"),
            StoreError::Damaged(problem) => Self::new(io::ErrorKind::InvalidData, problem),
        }
    }
}

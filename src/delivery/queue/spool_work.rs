//! What passes between the queue and the spool's thread.

use super::queued::QueuedEvent;
use crate::delivery::ledger::Totals;
use crate::delivery::spool::{Changes, Stored};

/// One round of the spool's work: what to write, and whether to read.
#[derive(Debug, Default)]
pub struct SpoolWork {
    /// `None` when there is nothing worth a write.
    pub changes: Option<Changes>,
    /// Counts to note beside the file, when nothing is worth a write.
    pub note: Option<Totals>,
    /// Events that are on disk only from now on.
    pub released: Vec<u64>,
    /// The most events and bytes to read back, if any.
    pub load: Option<(usize, usize)>,
    /// The queue has ended: this is the last round.
    pub is_last: bool,
}

/// What a round read back.
#[derive(Debug, Default)]
pub struct Read {
    pub events: Vec<Stored>,
    /// Nothing is left on disk that is not in memory.
    pub is_all: bool,
}

/// The most that one write takes.
pub const WRITE_EVENTS: usize = 2_000;
pub const WRITE_BYTES: usize = 4 << 20;

impl From<&QueuedEvent> for Stored {
    fn from(event: &QueuedEvent) -> Self {
        let QueuedEvent { ref json, seq, at, attempts, .. } = *event;
        Self { seq, at, attempts, json: json.clone() }
    }
}

impl From<Stored> for QueuedEvent {
    fn from(event: Stored) -> Self {
        let Stored { seq, at, attempts, json } = event;
        Self { json, seq, at, attempts, stored: true, from_disk: true, unanswered: false }
    }
}

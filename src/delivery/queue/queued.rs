use bytes::Bytes;

use crate::Error;
use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::ledger::Account;

/// An event in the queue, as wire JSON.
#[derive(Clone, Debug)]
pub struct QueuedEvent {
    pub json: Bytes,
    /// Its place in the order of capture.
    pub seq: u64,
    /// When it was captured, in milliseconds since 1970 by the [clock](super::SpoolLink::captured_at) of this process.
    #[cfg_attr(not(feature = "spool"), allow(dead_code, reason = "only the spool keeps it"))]
    pub at: u64,
    /// How many requests with it failed.
    pub attempts: u32,
    /// Whether it is on disk too.
    pub stored: bool,
    /// Whether it comes from there, behind the live ones.
    pub from_disk: bool,
    /// Whether PostHog's answer to its batch did not mention it.
    pub unanswered: bool,
}

/// What an event takes beside its JSON.
const OVERHEAD: usize = size_of::<QueuedEvent>();

impl QueuedEvent {
    /// One that has not been on disk.
    pub fn new(json: Bytes, seq: u64, at: u64) -> Self {
        Self { json, seq, at, attempts: 0, stored: false, from_disk: false, unanswered: false }
    }

    /// The dead letter that it becomes.
    pub fn dead_letter(&self, error: &Error) -> DeadLetter {
        DeadLetter::new(self.seq, Bytes::copy_from_slice(&self.json), error)
    }

    /// The memory that it takes.
    pub fn bytes(&self) -> usize {
        Self::bytes_of(&self.json)
    }

    /// The memory that an event with this JSON takes.
    pub fn bytes_of(json: &Bytes) -> usize {
        json.len() + OVERHEAD
    }
}

/// What becomes of one event of a batch.
#[derive(Debug)]
pub enum EventEnd {
    /// It is delivered, or dropped for a reason.
    Settled(Account),
    DeadLetter(DeadLetter),
    /// It is sent again.
    Again {
        unanswered: bool,
    },
}

/// What the worker is sending.
#[derive(Debug)]
pub struct InFlight {
    /// Of its first event: the batch's name between worker and queue.
    pub first: u64,
    pub events: Vec<QueuedEvent>,
}

impl InFlight {
    /// `None` without events.
    pub fn of(events: Vec<QueuedEvent>) -> Option<Self> {
        let first = events.first()?.seq;
        Some(Self { first, events })
    }
}

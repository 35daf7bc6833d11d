use std::collections::VecDeque;
use std::time::SystemTime;

use bytes::Bytes;
use posthog_rs::Event;
use serde::Serialize;
use tokio::time::Instant;

use crate::delivery::dead_letter::{DeadLetter, DeadLetterLimits, DeadLetters};
use crate::delivery::ledger::{DropReason, Ledger};

/// What gives way when the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third end of a queue")]
pub enum Overflow {
    /// The event that comes: what happened first is kept, as posthog-rs does.
    #[default]
    DropNewest,
    /// The event that has waited longest and is not under way: what happened last is kept.
    DropOldest,
}

#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) event_bytes: usize,
    pub(crate) batch_events: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) overflow: Overflow,
    pub(crate) dead_letters: DeadLetterLimits,
}

/// A raw event, numbered in the order of capture.
#[derive(Debug)]
pub(in crate::delivery) struct Captured {
    pub(in crate::delivery) event: Event,
    pub(in crate::delivery) at: SystemTime,
    pub(in crate::delivery) ticket: Ticket,
}

/// An event's place in the order of capture, and the size that was reckoned for it.
#[derive(Clone, Copy, Debug)]
pub(in crate::delivery) struct Ticket {
    pub(super) number: u64,
    pub(super) size: usize,
}

/// An event as wire JSON.
#[derive(Clone, Debug)]
pub(in crate::delivery) struct Encoded {
    pub(in crate::delivery) json: Bytes,
    pub(super) number: u64,
}

impl Encoded {
    /// Its place in the order of capture.
    pub(in crate::delivery) fn number(&self) -> u64 {
        self.number
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) raw: VecDeque<Captured>,
    pub(super) encoded: VecDeque<Encoded>,
    /// First numbers of what has been taken out: chunks being encoded, batches being sent.
    pub(super) taken: Vec<u64>,
    /// Of `raw`.
    pub(super) raw_bytes: usize,
    /// Of all that is in memory.
    pub(super) bytes: usize,
    pub(super) next_number: u64,
    /// Events before this number must not wait for a full batch.
    pub(super) due_to: u64,
    pub(super) closed: Option<DropReason>,
    /// Everything was dropped; what a worker that still runs says no longer counts.
    pub(super) abandoned: bool,
    pub(super) overflowing: bool,
    pub(super) last_loss: Option<Instant>,
    pub(super) last_burial: Option<Instant>,
    pub(super) dead: DeadLetters,
    pub(super) ledger: Ledger,
}

/// How full the queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct QueueFill {
    /// Events in memory, those under way included.
    pub events: u64,
    /// The bound on them.
    pub capacity: u64,
    /// Bytes of them: exact for encoded ones, an estimate for those that wait for the encoder.
    pub bytes: u64,
    /// The bound on them.
    pub capacity_bytes: u64,
}

/// The queue at one moment: its numbers agree with each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) is_closed: bool,
    pub(crate) fill: QueueFill,
    pub(crate) ledger: Ledger,
    /// When an event was last lost that nobody asked to drop.
    pub(crate) last_loss: Option<Instant>,
    /// When an event was last set aside.
    pub(crate) last_burial: Option<Instant>,
}

impl State {
    pub(super) fn lose(&mut self, events: u64, reason: DropReason) {
        self.ledger.drop(events, reason);
        if events > 0 && !reason.is_intended() {
            self.last_loss = Some(Instant::now());
        }
    }

    /// Sets an event aside that counts as queued. Gives back what had to make room for it.
    pub(super) fn bury(&mut self, letter: DeadLetter, limits: &Limits) -> Vec<DeadLetter> {
        self.ledger.bury();
        self.last_burial = Some(Instant::now());
        let evicted = self.dead.push(letter, limits.dead_letters);
        if !evicted.is_empty() {
            self.ledger.drop_dead(evicted.len() as u64, DropReason::DeadLettersFull);
            self.last_loss = self.last_burial;
        }
        evicted
    }

    /// Puts an event that counts as queued where its number says.
    pub(super) fn insert(&mut self, event: Encoded) {
        let at = self.encoded.partition_point(|other| other.number < event.number);
        self.encoded.insert(at, event);
    }

    pub(super) fn number(&mut self) -> u64 {
        self.ledger.capture();
        self.next_number += 1;
        self.next_number - 1
    }

    pub(super) fn has_room(&self, size: usize, limits: &Limits) -> bool {
        self.ledger.queued <= limits.events as u64 && self.bytes + size <= limits.bytes
    }

    /// Drops the oldest events for a new one, if that is the policy. Gives them back to be freed outside
    /// the lock.
    pub(super) fn make_room(
        &mut self,
        size: usize,
        limits: &Limits,
    ) -> Vec<(Option<Encoded>, Option<Captured>)> {
        let mut evicted = Vec::new();
        while limits.overflow == Overflow::DropOldest && !self.has_room(size, limits) {
            let oldest = match self.encoded.pop_front() {
                Some(oldest) => {
                    self.bytes -= oldest.json.len();
                    (Some(oldest), None)
                }
                None => {
                    let Some(oldest) = self.raw.pop_front() else { break };
                    self.raw_bytes -= oldest.ticket.size;
                    self.bytes -= oldest.ticket.size;
                    (None, Some(oldest))
                }
            };
            evicted.push(oldest);
            self.lose(1, DropReason::QueueFull);
        }
        evicted
    }

    /// Whether the worker must be woken: for the first event of a linger period and for a full batch,
    /// never for each event.
    pub(super) fn push(&mut self, captured: Captured, limits: &Limits) -> bool {
        let bytes_before = self.raw_bytes;
        self.raw_bytes += captured.ticket.size;
        self.bytes += captured.ticket.size;
        self.raw.push_back(captured);
        let fills_bytes = bytes_before < limits.batch_bytes && self.raw_bytes >= limits.batch_bytes;
        self.raw.len() == 1 || self.raw.len() == limits.batch_events || fills_bytes
    }

    pub(super) fn untake(&mut self, first: Option<u64>) {
        if let Some(at) = self.taken.iter().position(|number| Some(*number) == first) {
            self.taken.swap_remove(at);
        }
    }

    pub(super) fn settled_to(&self) -> u64 {
        let raw = self.raw.front().map(|raw| raw.ticket.number);
        let encoded = self.encoded.front().map(|event| event.number);
        self.taken.iter().copied().chain(raw).chain(encoded).min().unwrap_or(self.next_number)
    }
}

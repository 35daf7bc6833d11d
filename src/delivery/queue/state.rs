use std::collections::VecDeque;

use tokio::time::Instant;

use super::disk::{Disk, DiskState};
use super::event::{Captured, Encoded, UnderWay};
use super::limits::Limits;
use super::sizes::Sizes;
use crate::delivery::dead_letter::DeadLetters;
use crate::delivery::ledger::{DropReason, Ledger, Totals};
use crate::rt::Episode;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) raw: VecDeque<Captured>,
    /// Events that go to disk before they may be sent.
    pub(super) outbox: VecDeque<Encoded>,
    /// Live events that may be sent.
    pub(super) encoded: VecDeque<Encoded>,
    /// Events that were read back from disk.
    pub(super) backlog: VecDeque<Encoded>,
    pub(super) under_way: Vec<UnderWay>,
    /// Of `raw`'s events.
    pub(super) sizes: Sizes,
    /// Of `raw`.
    pub(super) raw_bytes: usize,
    /// Of all that is in memory.
    pub(super) bytes: usize,
    /// Events in memory that are on disk too: the ledger counts them as spooled.
    pub(super) held: u64,
    /// Numbers below are of events that other processes captured.
    pub(super) first_number: u64,
    pub(super) next_number: u64,
    /// Events before this number must not wait for a full batch.
    pub(super) due_to: u64,
    /// Raw events before this number must not wait at all.
    pub(super) encode_to: u64,
    pub(super) closed: Option<DropReason>,
    /// Everything was dropped; what a worker that still runs says no longer counts.
    pub(super) abandoned: bool,
    pub(super) overflowing: bool,
    /// For the log.
    pub(super) overflow: Episode,
    pub(super) last_loss: Option<Instant>,
    pub(super) last_burial: Option<Instant>,
    /// Events of this process that were set aside.
    pub(super) buried: u64,
    /// Events that an earlier process turned out to have lost.
    pub(super) found_lost: u64,
    pub(super) dead: DeadLetters,
    pub(super) ledger: Ledger,
    /// The part of the ledger that other processes counted.
    pub(super) inherited: Totals,
    pub(super) disk: Disk,
}

/// So many are told to the disk in one write at the latest.
pub(super) const SETTLED_AT_ONCE: usize = 1_000;

impl State {
    /// Events that this process got from earlier ones, those that these turned out to have lost included.
    pub(super) fn taken_over(&self) -> u64 {
        let Totals { captured, delivered, dropped } = self.inherited;
        captured.saturating_sub(delivered + dropped.total()) + self.found_lost
    }

    pub(super) fn own_totals(&self) -> Totals {
        let mut totals = self.ledger.totals();
        totals.subtract(&self.inherited);
        totals
    }

    /// Events in memory.
    pub(super) fn in_memory(&self) -> u64 {
        self.ledger.queued + self.held
    }

    pub(super) fn is_over_half(&self, limits: &Limits) -> bool {
        self.in_memory() * 2 > limits.events as u64 || self.bytes * 2 > limits.bytes
    }

    /// Whether all that is in memory is to be on disk: delivery stands still, or everything ends.
    pub(super) fn wants_all_on_disk(&self) -> bool {
        self.disk.in_trouble || self.closed.is_some()
    }

    /// Whether the spool's thread has something to do at once.
    pub(super) fn wants_to_write(&self, limits: &Limits) -> bool {
        self.disk.state != DiskState::Off
            && (self.wants_all_on_disk()
                || self.is_over_half(limits)
                || !self.outbox.is_empty()
                || !self.disk.journal.buried.is_empty()
                || self.disk.journal.settled.len() >= SETTLED_AT_ONCE)
    }

    /// Counts events as dropped that nothing counts any more.
    pub(super) fn lose(&mut self, events: u64, reason: DropReason) {
        self.ledger.dropped.add(reason, events);
        if events > 0 && !reason.is_intended() {
            self.last_loss = Some(Instant::now());
        }
    }

    /// Drops an event that is in memory only.
    pub(super) fn lose_queued(&mut self, number: u64, reason: DropReason) {
        self.ledger.queued -= 1;
        self.lose(1, reason);
        self.disk.tell(number, Err(reason));
    }

    /// Takes an event that met its end out of all counts but those of the ends.
    pub(super) fn end(&mut self, event: &Encoded) {
        self.bytes -= event.json.len();
        if event.stored {
            self.held -= 1;
            self.ledger.spooled -= 1;
            self.disk.journal.settle(event.number);
        } else {
            self.ledger.queued -= 1;
        }
    }

    /// Forgets an event that is on disk: it is read back later.
    pub(super) fn release(&mut self, event: &Encoded) {
        self.held -= 1;
        self.bytes -= event.json.len();
        self.disk.release(event.number, self.first_number);
    }

    /// Forgets everything in memory, and gives it back to be freed outside the lock.
    pub(super) fn clear(&mut self) -> impl Sized + use<> {
        self.held = 0;
        (self.raw_bytes, self.bytes) = (0, 0);
        self.disk.released_from = None;
        let lanes = [&mut self.outbox, &mut self.encoded, &mut self.backlog].map(std::mem::take);
        (lanes, std::mem::take(&mut self.raw), std::mem::take(&mut self.under_way))
    }

    /// Puts an event where its number says.
    pub(super) fn insert(&mut self, event: Encoded) {
        let lane = if event.from_disk { &mut self.backlog } else { &mut self.encoded };
        let at = lane.partition_point(|other| other.number < event.number);
        lane.insert(at, event);
    }

    pub(super) fn number(&mut self) -> u64 {
        self.ledger.captured += 1;
        self.next_number += 1;
        self.next_number - 1
    }

    /// Takes back what the worker has from this number on. `None` when everything was abandoned.
    pub(super) fn untake(&mut self, first: Option<u64>) -> Option<Vec<Encoded>> {
        let at = self.under_way.iter().position(|taken| Some(taken.first) == first)?;
        Some(self.under_way.swap_remove(at).events)
    }

    /// The lowest number of an event of this process that has not met its end.
    pub(super) fn settled_to(&self) -> u64 {
        let raw = self.raw.front().map(|raw| raw.ticket.number);
        let waiting = self.outbox.iter().map(|event| event.number).min();
        let live = self.encoded.front().map(|event| event.number);
        let is_of_another = |taken: &&UnderWay| {
            taken.first < self.first_number && taken.events.first().is_some_and(|event| event.from_disk)
        };
        let taken = self.under_way.iter().filter(|taken| !is_of_another(taken)).map(|taken| taken.first);
        let first_own = self.backlog.partition_point(|event| event.number < self.first_number);
        let backlog = self.backlog.get(first_own).map(|event| event.number);
        let own = taken.chain(backlog);
        let own = own.chain(raw).chain(waiting).chain(live).chain(self.disk.released_from);
        own.min().unwrap_or(self.next_number)
    }
}

//! What the spool has to do next.

use std::time::{Duration, Instant};

use super::disk::{Disk, DiskState, Journal, Sleep};
use super::event::Encoded;
use super::limits::Limits;
use super::state::{SETTLED_AT_ONCE, State};
use crate::delivery::ledger::{Ledger, Totals};
use crate::delivery::spool::{Changes, Fill, Stored};

/// One round of the spool: what to write, and whether to read.
#[derive(Debug, Default)]
pub(in crate::delivery) struct Turn {
    /// `None` when there is nothing worth a write.
    pub(in crate::delivery) changes: Option<Changes>,
    /// Counts to note beside the file, when nothing is worth a write.
    pub(in crate::delivery) note: Option<Totals>,
    /// Numbers that are on disk only from now on.
    pub(in crate::delivery) released: Vec<u64>,
    /// The most events and bytes to read back, if any.
    pub(in crate::delivery) load: Option<(usize, usize)>,
    /// The queue has ended: this is the last round.
    pub(in crate::delivery) is_last: bool,
}

/// What a turn read back.
#[derive(Debug, Default)]
pub(in crate::delivery) struct Read {
    pub(in crate::delivery) events: Vec<Stored>,
    /// Nothing is left on disk that is not in memory.
    pub(in crate::delivery) is_all: bool,
}

/// What is settled on disk is told in groups: a crash in between costs that many duplicates.
pub(super) const SETTLE_EVERY: Duration = Duration::from_secs(1);
/// How often the counts alone are written, for the case that the power fails.
const LEDGER_EVERY: Duration = Duration::from_secs(10);
/// How often they are noted, for the case that the process is killed.
const NOTE_EVERY: Duration = Duration::from_millis(100);
/// The most that one write takes.
const WRITE_EVENTS: usize = 2_000;
const WRITE_BYTES: usize = 4 << 20;
/// How long a full spool is left alone.
pub(super) const FULL_FOR: Duration = Duration::from_millis(500);

impl State {
    pub(super) fn turn(&mut self, limits: &Limits, now: Instant) -> Option<Turn> {
        let is_last = self.abandoned || (self.closed.is_some() && self.in_memory() == 0);
        if let DiskState::Full(until) = self.disk.state
            && until <= now
        {
            self.disk.state = DiskState::Ready;
        }
        let put = if self.disk.state == DiskState::Ready { self.to_write(limits) } else { Vec::new() };
        let reads = self.disk.is_usable()
            && self.closed.is_none()
            && !self.is_over_half(limits)
            && self.backlog.len() < limits.batch_events
            && self.ledger.spooled > self.held
            && self.disk.nothing_until.is_none_or(|until| until <= now);
        let load = reads.then_some((2 * limits.batch_events, 2 * limits.batch_bytes));
        let writes = !put.is_empty() || is_last || self.disk.must_write(&self.ledger, now);
        let note = (!writes && self.disk.must_note(&self.ledger, now)).then(|| self.totals_on_disk());
        if !writes && load.is_none() && note.is_none() {
            return None;
        }
        if writes || note.is_some() {
            self.disk.noted = (self.ledger, Some(now));
        }
        let totals = self.ledger.totals();
        let released = std::mem::take(&mut self.disk.journal.released);
        let changes = writes.then(|| {
            self.disk.written = (self.ledger, Some(now));
            std::mem::take(&mut self.disk.journal).into_changes(put, totals)
        });
        Some(Turn { changes, note, released, load, is_last })
    }

    /// How long nothing may be due unless somebody tells.
    pub(super) fn next_look(&self) -> (Sleep, Duration) {
        match self.disk.state {
            DiskState::Full(_) => (Sleep::Light, FULL_FOR),
            DiskState::Ready if self.disk.noted.0 != self.ledger => (Sleep::Light, NOTE_EVERY),
            _ if self.disk.journal.since.is_some() => (Sleep::Light, SETTLE_EVERY),
            _ => (Sleep::Deep, LEDGER_EVERY),
        }
    }

    /// The counts as they would be if the process ended now: what the disk was not yet told of is still there.
    pub(super) fn totals_on_disk(&self) -> Totals {
        let mut totals = self.ledger.totals();
        totals.subtract(&self.disk.journal.ended);
        totals
    }

    /// The events that are to be written now: those that wait for it; all, when delivery stands still or
    /// everything ends; the newest, when memory fills up.
    fn to_write(&self, limits: &Limits) -> Vec<Stored> {
        let taken = self.under_way.iter().flat_map(|taken| &taken.events);
        let wants_all = self.wants_all_on_disk();
        let wants_newest = self.is_over_half(limits);
        let newest = self.encoded.iter().rev();
        let rest = newest.filter(|_| wants_all || wants_newest).chain(taken.filter(|_| wants_all));
        let mut bytes = 0;
        let mut chunk: Vec<Stored> = self
            .outbox
            .iter()
            .chain(rest)
            .filter(|event| !event.stored)
            .take(WRITE_EVENTS)
            .take_while(|event| {
                let fits = bytes < WRITE_BYTES;
                bytes += event.json.len();
                fits
            })
            .map(Stored::from)
            .collect();
        chunk.sort_unstable_by_key(|event| event.number);
        chunk
    }
}

impl Disk {
    fn must_write(&self, ledger: &Ledger, now: Instant) -> bool {
        let elapsed = |since: Option<Instant>, time| since.is_none_or(|since| now >= since + time);
        let journal = &self.journal;
        let has_some = journal.since.is_some();
        self.is_usable()
            && (journal.settled.len() >= SETTLED_AT_ONCE
                || (has_some && elapsed(journal.since, SETTLE_EVERY))
                || (self.written.0 != *ledger && elapsed(self.written.1, LEDGER_EVERY)))
    }

    fn must_note(&self, ledger: &Ledger, now: Instant) -> bool {
        let is_due = self.noted.1.is_none_or(|since| now >= since + NOTE_EVERY);
        self.is_usable() && self.noted.0 != *ledger && is_due
    }

    pub(super) fn filled(&mut self, fill: Fill) {
        self.bytes = fill.bytes;
        self.file_bytes = fill.file_bytes;
        self.growth.sample(Instant::now(), fill.bytes);
    }

    fn is_usable(&self) -> bool {
        matches!(self.state, DiskState::Ready | DiskState::Full(_))
    }
}

impl Journal {
    fn into_changes(self, put: Vec<Stored>, totals: Totals) -> Changes {
        let Self { settled, attempted, buried, discarded, .. } = self;
        Changes {
            put,
            settle: settled,
            attempts: attempted.into_iter().collect(),
            bury: buried.into_iter().collect(),
            discard: discarded,
            totals,
        }
    }
}

impl From<&Encoded> for Stored {
    fn from(event: &Encoded) -> Self {
        let Encoded { ref json, number, at, attempts, .. } = *event;
        Self { number, at, attempts, json: json.clone() }
    }
}

//! What a turn of the spool came to.

use std::collections::VecDeque;
use std::time::Instant;

use super::disk::{DiskState, Waiter};
use super::event::Encoded;
use super::limits::Limits;
use super::state::State;
use super::turn::{FULL_FOR, Read, SETTLE_EVERY};
use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::ledger::{DropReason, Ledger, Totals};
use crate::delivery::spool::{Applied, Changes, Fill, Stored};

impl State {
    /// Counts what another process counted, and events on disk that are not in memory.
    pub(super) fn inherit(&mut self, counts: &Totals, events: u64) {
        self.ledger.spooled += events;
        self.inherited.add(counts);
        let mut totals = self.ledger.totals();
        totals.add(counts);
        let Totals { captured, delivered, dropped } = totals;
        self.ledger = Ledger { captured, delivered, dropped, ..self.ledger };
    }

    /// Adds dead letters that are counted as captured. Gives back those for which there is no room.
    pub(super) fn take_letters(
        &mut self,
        letters: impl IntoIterator<Item = DeadLetter>,
        limits: &Limits,
    ) -> Vec<DeadLetter> {
        let mut evicted = Vec::new();
        for letter in letters {
            self.ledger.dead_lettered += 1;
            evicted.extend(self.dead.push(letter, limits.dead_letters));
        }
        self.drop_dead(&evicted, DropReason::DeadLettersFull);
        evicted
    }

    /// Gives those who wait for what is written now, to be told outside the lock.
    pub(super) fn written(&mut self, changes: &Changes, applied: &Applied) -> Vec<Waiter> {
        let written = &changes.put[..applied.written];
        written.iter().for_each(|event| self.stored(event.number));
        let waiters = if self.disk.waiters.is_empty() {
            Vec::new()
        } else {
            written.iter().filter_map(|event| self.disk.waiters.remove(&event.number)).collect()
        };
        self.count_evicted(applied);
        if applied.written < changes.put.len() {
            self.disk.state = DiskState::Full(Instant::now() + FULL_FOR);
            self.empty_outbox(DropReason::SpoolFull);
        }
        waiters
    }

    /// Takes back what could not be written. What may be on disk all the same is removed first next time.
    pub(super) fn unwritten(&mut self, changes: &Changes) {
        let Changes { put, settle, attempts, bury, discard, .. } = changes;
        let journal = &mut self.disk.journal;
        // Before anything is noted: the counts of what is taken back here are not known.
        journal.since = Instant::now().checked_sub(SETTLE_EVERY);
        for (number, letter) in bury {
            // It may have been replayed or discarded meanwhile.
            let is_replayed = self.outbox.iter().any(|event| event.number == *number);
            if !is_replayed && !journal.discarded.contains(number) {
                journal.buried.insert(*number, letter.clone());
            }
        }
        for (number, attempts) in attempts {
            journal.attempted.entry(*number).or_insert(*attempts);
        }
        journal.settled.extend(settle.iter().copied().chain(put.iter().map(|event| event.number)));
        journal.discarded.extend(discard.iter().copied().chain(bury.iter().map(|(number, _)| *number)));
    }

    pub(super) fn count_evicted(&mut self, applied: &Applied) {
        self.ledger.spooled -= applied.full + applied.expired;
        self.lose(applied.full, DropReason::SpoolFull);
        self.lose(applied.expired, DropReason::SpoolExpired);
    }

    /// An event was written.
    fn stored(&mut self, number: u64) {
        let in_outbox = self.outbox.iter().position(|event| event.number == number);
        let taken = &mut self.under_way;
        if let Some(mut event) = in_outbox.and_then(|at| self.outbox.remove(at)) {
            event.stored = true;
            self.count_stored();
            self.insert(event);
        } else if let Ok(at) = self.encoded.binary_search_by_key(&number, |event| event.number) {
            self.encoded[at].stored = true;
            self.count_stored();
        } else if let Some(event) =
            taken.iter_mut().flat_map(|taken| &mut taken.events).find(|event| event.number == number)
        {
            event.stored = true;
            self.count_stored();
        } else {
            // It met its end meanwhile: delivered, most likely.
            self.disk.journal.settle(number);
            self.disk.journal.ended.delivered += 1;
        }
    }

    fn count_stored(&mut self) {
        self.held += 1;
        self.ledger.queued -= 1;
        self.ledger.spooled += 1;
    }

    pub(super) fn read(&mut self, Read { events, is_all }: Read) {
        let Some(last) = events.last().map(|last| last.number) else {
            // A record that cannot be read, probably. The next write removes it.
            self.disk.journal.touch();
            self.disk.nothing_until = Some(Instant::now() + 2 * SETTLE_EVERY);
            return;
        };
        if self.closed.is_some() {
            return self.disk.journal.released.extend(events.iter().map(|event| event.number));
        }
        if last >= self.first_number {
            // What was released while the disk was read is not behind what was read.
            let since = self.disk.journal.released.iter().copied();
            let since = since.filter(|number| *number >= self.first_number);
            self.disk.released_from = since.chain((!is_all).then_some(last + 1)).min();
        }
        self.held += events.len() as u64;
        for event in events {
            self.bytes += event.json.len();
            self.insert(Encoded::from(event));
        }
    }

    /// What of these is in memory is there only.
    pub(super) fn unstore(&mut self, is_missing: impl Fn(u64) -> bool) {
        let backlog = std::mem::take(&mut self.backlog);
        let (missing, others): (VecDeque<_>, VecDeque<_>) =
            backlog.into_iter().partition(|event| is_missing(event.number));
        self.backlog = others;
        missing.into_iter().for_each(|event| self.insert(Encoded { from_disk: false, ..event }));
        let taken = self.under_way.iter_mut().flat_map(|taken| &mut taken.events);
        for event in self.encoded.iter_mut().chain(taken) {
            if event.stored && is_missing(event.number) {
                (event.stored, event.from_disk) = (false, false);
                self.held -= 1;
                self.ledger.spooled -= 1;
                self.ledger.queued += 1;
            }
        }
    }

    /// What the disk turns out not to have is lost: a damaged record. What it has in excess is there again, by a
    /// salvage, and will be delivered again.
    pub(super) fn reconcile(&mut self, fill: Fill) {
        let known = self.ledger.spooled + self.disk.journal.settled.len() as u64;
        let missing = known.saturating_sub(fill.events).min(self.ledger.spooled.saturating_sub(self.held));
        self.ledger.spooled -= missing;
        self.lose(missing, DropReason::Crash);
        let again = fill.events.saturating_sub(known);
        let undelivered = again.min(self.ledger.delivered);
        self.ledger.spooled += again;
        self.ledger.delivered -= undelivered;
        self.ledger.captured += again - undelivered;
        if self.ledger.spooled <= self.held {
            self.disk.released_from = None;
        }
    }

    /// What was to be written first is sent unwritten, or refused where somebody waits for the writing.
    pub(super) fn empty_outbox(&mut self, reason: DropReason) {
        for event in std::mem::take(&mut self.outbox) {
            // It may have been a dead letter until now.
            self.disk.discard(event.number);
            if self.disk.is_awaited(event.number) {
                self.bytes -= event.json.len();
                self.lose_queued(event.number, reason);
            } else {
                self.insert(event);
            }
        }
    }
}

impl From<Stored> for Encoded {
    fn from(event: Stored) -> Self {
        let Stored { number, at, attempts, json } = event;
        Self { json, number, at, attempts, stored: true, from_disk: true }
    }
}

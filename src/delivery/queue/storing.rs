//! What the spool's thread does with the queue: it takes what is to be written, and tells what became of it.
//! Events that are being written stay where they are; they may be sent and settled meanwhile.

use std::collections::VecDeque;
use std::io;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use posthog_rs::Event;
use tokio::sync::oneshot;

use super::disk::{Disk, DiskState, Journal, Sleep, Waiter};
use super::spool_health::SpoolIssue;
use super::state::{Encoded, Limits, SETTLED_AT_ONCE, State};
use super::{DropReason, Ledger, Queue};
use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::ledger::Totals;
use crate::delivery::spool::{Applied, Changes, Contents, Fill, Stored};

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

/// What is settled on disk is told in groups: a crash in between costs that many duplicates.
const SETTLE_EVERY: Duration = Duration::from_secs(1);
/// How often the counts alone are written, for the case that the power fails.
const LEDGER_EVERY: Duration = Duration::from_secs(10);
/// How often they are noted, for the case that the process is killed.
const NOTE_EVERY: Duration = Duration::from_millis(100);
/// The most that one write takes.
const WRITE_EVENTS: usize = 2_000;
const WRITE_BYTES: usize = 4 << 20;
/// How long a full spool is left alone.
const FULL_FOR: Duration = Duration::from_millis(500);

impl Queue {
    /// Captures an event and tells when it is on disk, or why it was dropped instead.
    pub(crate) async fn capture_durable(&self, event: Event) -> Result<(), DropReason> {
        let (waiter, told) = oneshot::channel();
        self.enter(event, Some(waiter));
        told.await.unwrap_or(Err(DropReason::Shutdown))
    }

    /// Tells that there will be a spool of that size.
    pub(in crate::delivery) fn expect_disk(&self, capacity_bytes: u64) {
        let mut state = self.state();
        state.disk.state = DiskState::Opening;
        state.disk.capacity_bytes = capacity_bytes;
    }

    /// Tells that the spool is open for the first time, and what was found there.
    pub(in crate::delivery) fn disk_opened(&self, contents: Contents, fill: Fill, write_ahead: bool) {
        let mut state = self.state();
        state.inherit(&contents.totals, fill.events);
        let before = std::mem::take(&mut state.dead).into_vec();
        state.ledger.dead_lettered -= before.len() as u64;
        let letters = contents.dead.into_iter().map(|(_, letter)| letter).chain(before);
        let evicted = state.take_letters(letters, &self.limits);
        if contents.crashed > 0 {
            state.last_loss = Some(tokio::time::Instant::now());
        }
        state.disk.filled(fill);
        state.disk.write_ahead = write_ahead;
        state.disk.state = DiskState::Ready;
        self.publish(&mut state);
        drop(state);
        drop(evicted);
    }

    /// Tells that the spool works again.
    pub(in crate::delivery) fn disk_recovered(&self) {
        let mut state = self.state();
        state.disk.state = DiskState::Ready;
        state.disk.issue = None;
    }

    /// Tells of something that a person should look at, though the spool works.
    pub(in crate::delivery) fn disk_noticed(&self, issue: SpoolIssue) {
        self.state().disk.issue = Some(issue);
    }

    /// Tells how full the spool is.
    pub(in crate::delivery) fn disk_filled(&self, fill: Fill) {
        self.state().disk.filled(fill);
    }

    /// Tells that the spool does not work: everything goes on in memory.
    pub(in crate::delivery) fn disk_failed(&self, issue: SpoolIssue) {
        let mut state = self.state();
        state.disk.state = DiskState::Failing;
        state.disk.issue = Some(issue);
        state.empty_outbox(DropReason::SpoolUnavailable);
        self.publish(&mut state);
        drop(state);
        self.wake.notify_one();
    }

    /// Tells that the file had to be made anew from what could be read: nothing in memory is known to be in
    /// it, and what is goes.
    pub(in crate::delivery) fn disk_remade(&self) {
        let mut state = self.state();
        let State { encoded, backlog, under_way, .. } = &mut *state;
        let under_way = under_way.iter_mut().flat_map(|taken| &mut taken.events);
        let stored: Vec<u64> = encoded
            .iter_mut()
            .chain(backlog)
            .chain(under_way)
            .filter_map(|event| std::mem::take(&mut event.stored).then_some(event.number))
            .collect();
        let held = std::mem::take(&mut state.held);
        state.ledger.spooled -= held;
        state.ledger.queued += held;
        stored.into_iter().for_each(|number| state.disk.journal.settle(number));
    }

    /// Waits until the spool has something to do, or for as long as that.
    pub(in crate::delivery) fn next_turn(&self, longest: Duration) -> Option<Turn> {
        let until = Instant::now() + longest;
        let mut state = self.state();
        loop {
            let now = Instant::now();
            if let Some(turn) = state.turn(&self.limits, now) {
                return Some(turn);
            }
            if now >= until {
                return None;
            }
            let (sleep, wait) = state.next_look();
            state.disk.sleep = sleep;
            let wait = wait.min(until.saturating_duration_since(now));
            let woken = self.disk_wake.wait_timeout(state, wait);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            state.disk.sleep = Sleep::Awake;
        }
    }

    /// Tells what a turn came to. `None`: nothing is known to be written.
    pub(in crate::delivery) fn finish_turn(
        &self,
        turn: Turn,
        applied: Option<Applied>,
        loaded: Vec<Stored>,
        fill: Fill,
    ) {
        let mut waiters = Vec::new();
        let mut state = self.state();
        state.loaded(loaded);
        match (&turn.changes, applied) {
            (Some(changes), Some(applied)) => {
                waiters = state.written(changes, &applied);
                state.reconcile(fill);
            }
            (Some(changes), None) => state.unwritten(changes),
            (None, _) => {}
        }
        let copies = if state.is_over_half(&self.limits) { state.release_copies() } else { VecDeque::new() };
        state.disk.filled(fill);
        self.publish(&mut state);
        drop(state);
        drop(copies);
        if turn.changes.is_some() || turn.load.is_some() {
            self.wake.notify_one();
        }
        waiters.into_iter().for_each(|waiter| {
            let _ = waiter.send(Ok(()));
        });
    }

    /// The counts that the next write is to keep.
    pub(in crate::delivery) fn totals(&self) -> Totals {
        self.state().ledger.totals()
    }

    /// The number of the first event that this process captured.
    pub(in crate::delivery) fn first_number(&self) -> u64 {
        self.state().first_number
    }

    /// Counts what was taken over from another process's file and written to ours.
    pub(in crate::delivery) fn adopted(
        &self,
        counts: &Totals,
        changes: &Changes,
        applied: &Applied,
        letters: Vec<DeadLetter>,
    ) {
        let mut state = self.state();
        state.inherit(counts, applied.written as u64);
        state.count_evicted(applied);
        let lost = (changes.put.len() - applied.written) as u64;
        state.lose(lost, DropReason::SpoolFull);
        let evicted = state.take_letters(letters, &self.limits);
        drop(state);
        drop(evicted);
    }
}

impl State {
    /// Counts what another process counted, and events on disk that are not in memory.
    fn inherit(&mut self, counts: &Totals, events: u64) {
        self.ledger.spooled += events;
        self.inherited.add(counts);
        let mut totals = self.ledger.totals();
        totals.add(counts);
        let Totals { captured, delivered, dropped } = totals;
        self.ledger = Ledger { captured, delivered, dropped, ..self.ledger };
    }

    /// Adds dead letters that are counted as captured. Gives back those for which there is no room.
    fn take_letters(
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
            && self.ledger.spooled > self.held;
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
    fn next_look(&self) -> (Sleep, Duration) {
        match self.disk.state {
            DiskState::Full(_) => (Sleep::Light, FULL_FOR),
            DiskState::Ready if self.disk.noted.0 != self.ledger => (Sleep::Light, NOTE_EVERY),
            _ if self.disk.journal.since.is_some() => (Sleep::Light, SETTLE_EVERY),
            _ => (Sleep::Deep, LEDGER_EVERY),
        }
    }

    /// The counts as they would be if the process ended now: what the disk was not yet told of is still there.
    fn totals_on_disk(&self) -> Totals {
        let mut totals = self.ledger.totals();
        totals.delivered = totals.delivered.saturating_sub(self.disk.journal.settled.len() as u64);
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

    /// Gives those who wait for what is written now, to be told outside the lock.
    fn written(&mut self, changes: &Changes, applied: &Applied) -> Vec<Waiter> {
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
    fn unwritten(&mut self, changes: &Changes) {
        let Changes { put, settle, attempts, bury, discard, .. } = changes;
        let journal = &mut self.disk.journal;
        journal.touch();
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

    fn count_evicted(&mut self, applied: &Applied) {
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
            // It met its end meanwhile.
            self.disk.journal.settle(number);
        }
    }

    fn count_stored(&mut self) {
        self.held += 1;
        self.ledger.queued -= 1;
        self.ledger.spooled += 1;
    }

    fn loaded(&mut self, events: Vec<Stored>) {
        let Some(last) = events.last().map(|last| last.number) else { return };
        if self.closed.is_some() {
            return self.disk.journal.released.extend(events.iter().map(|event| event.number));
        }
        if last >= self.first_number {
            self.disk.released_from = Some(last + 1);
        }
        self.held += events.len() as u64;
        for event in events {
            self.bytes += event.json.len();
            self.insert(Encoded::from(event));
        }
    }

    /// What the disk turns out not to have is lost: a damaged record.
    fn reconcile(&mut self, fill: Fill) {
        let known = self.ledger.spooled + self.disk.journal.settled.len() as u64;
        let missing = known.saturating_sub(fill.events);
        self.ledger.spooled = self.ledger.spooled.saturating_sub(missing);
        self.lose(missing, DropReason::Crash);
        if self.ledger.spooled <= self.held {
            self.disk.released_from = None;
        }
    }

    /// What was to be written first is sent unwritten, or refused where somebody waits for the writing.
    fn empty_outbox(&mut self, reason: DropReason) {
        for event in std::mem::take(&mut self.outbox) {
            // It may have been a dead letter until now.
            self.disk.discard(event.number);
            if self.disk.waiters.contains_key(&event.number) {
                self.bytes -= event.json.len();
                self.lose_queued(event.number, reason);
            } else {
                self.insert(event);
            }
        }
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

    fn filled(&mut self, fill: Fill) {
        self.bytes = fill.bytes;
        self.file_bytes = fill.file_bytes;
        self.growth.sample(Instant::now(), fill.bytes);
    }

    fn is_usable(&self) -> bool {
        matches!(self.state, DiskState::Ready | DiskState::Full(_))
    }
}

impl SpoolIssue {
    pub(in crate::delivery) fn of(error: &io::Error) -> Self {
        use io::ErrorKind::*;
        match error.kind() {
            PermissionDenied | ReadOnlyFilesystem => Self::NoPermission,
            NotFound | NotADirectory | AlreadyExists => Self::NoDirectory,
            StorageFull | QuotaExceeded | FileTooLarge => Self::DiskFull,
            ResourceBusy | WouldBlock | Unsupported => Self::InUse,
            _ => Self::Io,
        }
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

impl From<Stored> for Encoded {
    fn from(event: Stored) -> Self {
        let Stored { number, at, attempts, json } = event;
        Self { json, number, at, attempts, stored: true, from_disk: true }
    }
}

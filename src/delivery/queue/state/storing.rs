//! The steps of the spool's thread.

use std::collections::VecDeque;
use std::time::Instant;

use super::State;
use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::ledger::{Account, DropReason, Totals};
use crate::delivery::queue::spool_link::{PATIENCE, Waiter, Watch};
use crate::delivery::queue::spool_work::{Read, SpoolWork, WRITE_BYTES, WRITE_EVENTS};
use crate::delivery::queue::{QueuedEvent, SpoolIssue};
use crate::delivery::spool::{Applied, Contents, Fill, Stored};

impl State {
    /// The spool is open for the first time, with this in it. Gives back the dead letters for which there is no room.
    pub fn spool_opened(&mut self, contents: Contents, fill: Fill, write_ahead: bool) -> Vec<DeadLetter> {
        let Contents { totals, dead, crashed, .. } = contents;
        self.inherit(&totals, fill.events, dead.len() as u64);
        // The others are older than ours.
        let ours = std::mem::take(&mut self.dead).into_vec();
        let letters = dead.into_iter().map(|(_, letter)| letter).chain(ours);
        let evicted = letters.flat_map(|letter| self.keep_letter(letter)).collect();
        if crashed > 0 {
            self.note_loss();
            self.inherited.lost(crashed);
        }
        self.spool.measured(fill);
        self.spool.opened(write_ahead);
        self.concerned.all();
        evicted
    }

    /// The spool works again, and has these of the events and dead letters in memory still: the file may have been put back to
    /// an earlier state, or made anew.
    pub fn spool_recovered(&mut self, has: impl Fn(u64) -> bool, has_letter: impl Fn(u64) -> bool) {
        self.spool.recovered();
        let letters = self.dead.iter().filter(|letter| !has_letter(letter.seq()));
        letters.for_each(|letter| self.spool.dead_letter(letter));
        let missing = self.memory.mark_unstored(|seq| !has(seq));
        self.ledger.transfer(missing, Account::Spooled, Account::Queued);
        if missing > 0 {
            self.spool.store_all();
        }
        self.concerned.all();
    }

    /// The spool does not work: everything goes on in memory.
    pub fn spool_failed(&mut self, issue: SpoolIssue) {
        self.spool.failed(issue);
        self.empty_outbox(DropReason::SpoolUnavailable);
        self.concerned.all();
        self.concerned.worker(true);
    }

    /// What the thread that watches the disk has to do. A disk that hangs has failed. What ends in seconds waits for it half
    /// as long, so that memory can still deliver.
    pub fn watch_disk(&mut self, now: Instant) -> Watch {
        if self.spool.has_ended() || (self.abandoned && self.spool.hangs()) {
            return Watch::End;
        }
        let ends = self.closed.is_some() && !self.abandoned;
        let watch = self.spool.watch(now, if ends { PATIENCE / 2 } else { PATIENCE });
        if let Watch::GiveUp { .. } = watch {
            self.spool_failed(SpoolIssue::Hangs);
        }
        watch
    }

    /// The disk has answered. Whether that is to be logged.
    pub fn end_disk_round(&mut self) -> bool {
        self.concerned.all();
        self.spool.end_round()
    }

    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// What the spool has to do now, if anything.
    pub fn next_work(&mut self, now: Instant) -> Option<SpoolWork> {
        let ledger = self.ledger();
        let is_last = self.abandoned || (self.closed.is_some() && self.memory.events() == 0);
        self.spool.retry_when_full(now);
        let put = if self.spool.takes_events() { self.take_gathered(now) } else { Vec::new() };
        let reads = self.spool.may_read(now)
            && self.closed.is_none()
            && !self.memory.is_over_half(&self.limits)
            && self.memory.backlog() < self.limits.batch_events
            && ledger.spooled > self.memory.stored();
        let load = reads.then_some((2 * self.limits.batch_events, 2 * self.limits.batch_bytes));
        let writes = !put.is_empty() || is_last || self.spool.must_write(&ledger, now);
        let note =
            (!writes && self.spool.must_note(&ledger, now)).then(|| self.spool.on_disk(ledger.totals()));
        if !writes && load.is_none() && note.is_none() {
            return None;
        }
        if writes || note.is_some() {
            self.spool.note(ledger, now);
        }
        let released = self.spool.journal.take_released();
        let changes = writes.then(|| self.spool.take_changes(put, ledger, now));
        Some(SpoolWork { changes, note, released, load, is_last })
    }

    /// How long nothing may be due unless somebody wakes the spool's thread, which sleeps from now on.
    pub fn sleep(&mut self, now: Instant) -> std::time::Duration {
        let spills = self.wants_live_on_disk() && self.memory.events() > self.memory.stored();
        self.spool.sleep(&self.ledger.ledger(), now, spills)
    }

    /// The events that are to be written now: those that have gathered; all, when delivery stands still or everything
    /// ends, or memory fills up, the newest first.
    fn take_gathered(&mut self, now: Instant) -> Vec<Stored> {
        let wants_all = self.wants_all_on_disk();
        let wants_live = self.memory.is_over_half(&self.limits);
        let gathers = self.spool.is_gathering(now) && self.closed.is_none();
        let is_much = wants_live || self.closed.is_some() || self.memory.has_unstored_batch(&self.limits);
        let spills = (wants_live || wants_all) && (is_much || self.spool.may_spill(now));
        if gathers || (!spills && !self.spool.has_gathered(now)) {
            return Vec::new();
        }
        let mut bytes = 0;
        let events = self.memory.unstored(wants_live || wants_all).take(WRITE_EVENTS).take_while(|event| {
            let fits = bytes < WRITE_BYTES;
            bytes += event.json.len();
            fits
        });
        let mut chunk: Vec<Stored> = events.map(Stored::from).collect();
        if !chunk.is_empty() {
            self.spool.begin_spill(now);
        }
        if chunk.len() < WRITE_EVENTS && bytes < WRITE_BYTES {
            self.spool.begin_gathering();
        }
        chunk.sort_unstable_by_key(|event| event.seq);
        chunk
    }

    /// What became of a round of work. `applied` is `None` when nothing is known to be written. Gives those who wait for
    /// what is written now, to be told outside the lock, and copies that are forgotten while memory is short of room.
    pub fn finish_work(
        &mut self,
        work: &SpoolWork,
        applied: Option<Applied>,
        read: Read,
        fill: Fill,
    ) -> (Vec<Waiter>, VecDeque<QueuedEvent>) {
        let mut waiters = Vec::new();
        let failed = work.changes.is_some() && applied.is_none();
        if work.load.is_some() && !failed {
            self.read(read);
        }
        match (&work.changes, applied) {
            (Some(changes), Some(applied)) => {
                let (written, rest) = changes.put.split_at(applied.written);
                written.iter().for_each(|event| self.stored(event.seq));
                waiters = self.spool.waiters_of(written);
                // First what was there before this write evicted some of it.
                self.reconcile(fill.events + applied.full + applied.expired);
                self.count_evicted(&applied);
                if !rest.is_empty() {
                    self.spool.filled_up();
                    self.empty_outbox(DropReason::SpoolFull);
                }
            }
            (Some(changes), None) => {
                let memory = &self.memory;
                self.spool.journal.give_back(changes, |seq| memory.is_in_outbox(seq));
                if !changes.put.is_empty() {
                    self.spool.store_all();
                }
            }
            (None, _) => {}
        }
        self.spool.measured(fill);
        self.concerned.all();
        self.concerned.worker(work.changes.is_some() || work.load.is_some());
        let is_short = self.memory.is_over_half(&self.limits) && self.memory.live_stored() > 0;
        (waiters, if is_short { self.release_live() } else { VecDeque::new() })
    }

    /// The counts that the next write is to keep.
    pub fn totals_on_disk(&self) -> Totals {
        self.spool.on_disk(self.ledger.totals())
    }

    /// Counts what was taken over from another process's file and written to ours. Gives back the dead letters for which
    /// there is no room.
    pub fn take_over(
        &mut self,
        counts: &Totals,
        applied: &Applied,
        letters: Vec<DeadLetter>,
    ) -> Vec<DeadLetter> {
        self.inherit(counts, applied.written as u64, letters.len() as u64);
        self.count_evicted(applied);
        letters.into_iter().flat_map(|letter| self.keep_letter(letter)).collect()
    }

    /// Counts what another process counted, with its events and dead letters that are on disk here.
    pub fn inherit(&mut self, counts: &Totals, events: u64, letters: u64) {
        self.ledger.transfer(counts.delivered, Account::Outside, Account::Delivered);
        for (reason, count) in counts.dropped.iter() {
            self.ledger.transfer(count, Account::Outside, Account::Dropped(reason));
        }
        self.ledger.transfer(events, Account::Outside, Account::Spooled);
        self.ledger.transfer(letters, Account::Outside, Account::DeadLettered);
        self.inherited.counted(counts);
    }

    fn count_evicted(&mut self, applied: &Applied) {
        self.lose(applied.full, Account::Spooled, DropReason::SpoolFull);
        self.lose(applied.expired, Account::Spooled, DropReason::SpoolExpired);
    }

    /// An event was written.
    fn stored(&mut self, seq: u64) {
        if self.memory.mark_stored(seq) {
            self.ledger.transfer(1, Account::Queued, Account::Spooled);
        } else {
            // It met its end meanwhile: delivered, most likely.
            self.spool.journal.settle(seq, Account::Delivered);
        }
    }

    pub fn read(&mut self, Read { events, is_all }: Read) {
        let Some(last) = events.last().map(|last| last.seq) else { return self.spool.read_nothing() };
        if self.closed.is_some() {
            return self.spool.journal.release(events.iter().map(|event| event.seq));
        }
        self.spool.read(last, is_all, self.first_seq);
        events.into_iter().map(QueuedEvent::from).for_each(|event| self.memory.insert(event));
    }

    /// What the disk turns out not to have is lost: a damaged record. What it has in excess is there again, by a salvage,
    /// and will be delivered again.
    fn reconcile(&mut self, on_disk: u64) {
        let spooled = self.ledger.spooled();
        let known = spooled + self.spool.journal.settled();
        let missing = known.saturating_sub(on_disk).min(spooled.saturating_sub(self.memory.stored()));
        self.lose(missing, Account::Spooled, DropReason::Crash);
        let again = on_disk.saturating_sub(known);
        let undelivered = again.min(self.ledger().delivered);
        self.ledger.transfer(undelivered, Account::Delivered, Account::Spooled);
        self.ledger.transfer(again - undelivered, Account::Outside, Account::Spooled);
        if self.ledger.spooled() <= self.memory.stored() {
            self.spool.forget_released();
        }
    }

    /// What was to be written first is sent unwritten, or refused where somebody waits for the writing.
    fn empty_outbox(&mut self, reason: DropReason) {
        for event in self.memory.take_outbox() {
            // It may have been a dead letter until now.
            self.spool.discard(event.seq, None);
            if self.spool.is_awaited(event.seq) {
                self.lose(1, Account::Queued, reason);
                self.spool.tell(event.seq, Err(reason));
            } else {
                self.memory.insert(event);
            }
        }
        self.spool.forget_cancelled();
    }
}

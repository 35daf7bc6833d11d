use std::collections::VecDeque;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::time::Instant;

#[cfg(feature = "spool")]
use super::SpoolIssue;
use super::limits::{Limits, Overflow};
use super::memory::Memory;
use super::queued::QueuedEvent;
use super::spool_link::{Place, SpoolLink, Waiter};
#[cfg(feature = "spool")]
use super::spool_work::{Read, SpoolWork, WRITE_BYTES, WRITE_EVENTS};
use super::{QueueFill, Snapshot};
use crate::delivery::dead_letter::{DeadLetter, DeadLetters};
use crate::delivery::ledger::{Account, Accounts, DropReason, Ledger, Totals};
#[cfg(feature = "spool")]
use crate::delivery::spool::{Applied, Contents, Fill, Stored};
use crate::rt::Episode;
use crate::{Error, ErrorKind};

/// What the queue's lock guards: the ledger, the events in memory, what the spool is owed, and the order of capture.
///
/// Each method is one step of an event, and moves it in all of them at once.
#[derive(Debug, Default)]
pub struct State {
    ledger: Accounts,
    memory: Memory,
    spool: SpoolLink,
    dead: DeadLetters,
    /// Events of other processes are before this place.
    first_seq: u64,
    next_seq: u64,
    /// Events before this place must not wait for a full batch.
    due_to: u64,
    closed: Option<DropReason>,
    /// Everything was dropped; what a worker that still runs says no longer counts.
    abandoned: bool,
    overflowing: bool,
    /// For the log, which the worker writes.
    overflow: Episode,
    overflow_is_news: bool,
    last_loss: Option<Instant>,
    last_dead_letter: Option<Instant>,
    /// Events of this process that became dead letters.
    dead_lettered: u64,
    /// Events that an earlier process turned out to have lost.
    found_lost: u64,
    /// The part of the ledger that other processes counted.
    inherited: Totals,
}

/// What is left to do when an event has entered, outside the lock.
#[derive(Debug, Default)]
pub struct Entered {
    pub wakes_worker: bool,
    pub wakes_spool: bool,
    /// Those who would have waited for it, and why they need not.
    pub refused: Option<(Waiter, DropReason)>,
    /// What had to make room, to be freed.
    pub freed: (VecDeque<QueuedEvent>, Vec<DeadLetter>),
}

impl State {
    pub fn new(limits: &Limits, first_seq: u64, closed: Option<DropReason>) -> Self {
        let memory = if closed.is_none() { Memory::new(limits) } else { Memory::default() };
        Self { memory, closed, first_seq, next_seq: first_seq, due_to: first_seq, ..Self::default() }
    }

    pub fn ledger(&self) -> Ledger {
        self.ledger.ledger()
    }

    /// What this process counted: without what the spool remembers of others.
    pub fn own_totals(&self) -> Totals {
        let mut totals = self.ledger.totals();
        totals.subtract(&self.inherited);
        totals
    }

    pub fn snapshot(&self, limits: &Limits) -> Snapshot {
        let Totals { captured, delivered, dropped } = self.inherited;
        Snapshot {
            fill: QueueFill {
                events: self.memory.events(),
                capacity: limits.events as u64,
                bytes: self.memory.bytes() as u64,
                capacity_bytes: limits.bytes as u64,
            },
            ledger: self.ledger(),
            own: self.own_totals(),
            taken_over: captured.saturating_sub(delivered + dropped.total()) + self.found_lost,
            found_lost: self.found_lost,
            buried: self.dead_lettered,
            spool: self.spool.health(self.ledger.spooled(), std::time::Instant::now()),
            last_loss: self.last_loss,
            last_burial: self.last_dead_letter,
        }
    }

    /// Why an event of any size would be refused now, so that it need not be encoded.
    pub fn refuses_all(&self, limits: &Limits) -> Option<DropReason> {
        let is_full = || {
            limits.overflow == Overflow::DropNewest
                && !self.memory.has_room(0, limits)
                && self.memory.live_stored() == 0
        };
        self.closed.or_else(|| is_full().then_some(DropReason::QueueFull))
    }

    /// Lets an event in, or drops it.
    pub fn enter(&mut self, json: Bytes, at: SystemTime, waiter: Option<Waiter>, limits: &Limits) -> Entered {
        let bytes = QueuedEvent::bytes_of(&json);
        if let Some(reason) = self.closed {
            return self.refuse(reason, waiter);
        }
        if bytes > limits.bytes {
            return self.refuse(DropReason::TooLarge, waiter);
        }
        if json.len() > limits.event_bytes {
            return self.set_aside_large(json, waiter, limits);
        }
        let mut entered = Entered::default();
        if !self.memory.has_room(bytes, limits) {
            let drops = self.make_room(bytes, limits, &mut entered.freed.0);
            if !self.memory.has_room(bytes, limits) {
                return Entered { freed: entered.freed, ..self.refuse(DropReason::QueueFull, waiter) };
            }
            entered.wakes_worker = drops && self.note_overflow();
        }
        let place = self.spool.place(waiter.as_ref());
        if let Place::Refused(reason) = place {
            return self.refuse(reason, waiter);
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        self.ledger.transfer(1, Account::Outside, Account::Queued);
        let event = QueuedEvent::new(json, seq, at);
        if let Place::Outbox = place {
            self.memory.push_outbox(event);
            entered.wakes_spool = self.spool.gather(seq, waiter) && self.spool.wake();
        } else {
            entered.wakes_worker |= self.memory.push(event, limits);
            let unstored = if self.wants_live_on_disk(limits) { self.memory.live_unstored() } else { 0 };
            entered.wakes_spool = self.spool.wakes_for(unstored, limits.batch_events) && self.spool.wake();
        }
        entered
    }

    /// Counts an event as dropped that did not enter.
    #[cold]
    pub fn refuse(&mut self, reason: DropReason, waiter: Option<Waiter>) -> Entered {
        self.lose(1, Account::Outside, reason);
        let wakes_worker = reason == DropReason::QueueFull && self.note_overflow();
        let wakes_spool = self.spool.sleeps_through(&self.ledger()) && self.spool.wake();
        Entered {
            wakes_worker,
            wakes_spool,
            refused: waiter.map(|waiter| (waiter, reason)),
            ..Entered::default()
        }
    }

    #[cold]
    fn set_aside_large(&mut self, json: Bytes, waiter: Option<Waiter>, limits: &Limits) -> Entered {
        let letter = DeadLetter::new(self.next_seq, json, &Error::new(ErrorKind::TooLarge));
        self.next_seq += 1;
        let evicted = self.dead_letter(letter, Account::Outside, limits);
        Entered {
            wakes_spool: self.spool.wake(),
            refused: waiter.map(|waiter| (waiter, DropReason::TooLarge)),
            freed: (VecDeque::new(), evicted),
            ..Entered::default()
        }
    }

    /// Makes room for a new event: forgets what is on disk too, and drops the oldest if that is the policy. Whether an
    /// event was dropped.
    #[cold]
    fn make_room(&mut self, bytes: usize, limits: &Limits, freed: &mut VecDeque<QueuedEvent>) -> bool {
        if self.memory.live_stored() > 0 {
            *freed = self.release_live();
        }
        let mut drops = false;
        while limits.overflow == Overflow::DropOldest
            && !self.memory.has_room(bytes, limits)
            && let Some(oldest) = self.memory.evict()
        {
            self.lose(1, Account::Queued, DropReason::QueueFull);
            self.spool.tell(oldest.seq, Err(DropReason::QueueFull));
            freed.push_back(oldest);
            drops = true;
        }
        drops
    }

    /// Takes note that the queue overflows. Whether that is news, which the worker logs: no subscriber runs on a
    /// caller's thread.
    fn note_overflow(&mut self) -> bool {
        let begins = !std::mem::replace(&mut self.overflowing, true)
            && self.overflow.begins(Instant::now().into_std());
        self.overflow_is_news |= begins;
        begins
    }

    pub fn take_overflow_news(&mut self) -> bool {
        std::mem::take(&mut self.overflow_is_news)
    }

    /// What has changed for those who wait: whether the spool must be woken, and up to where all events have met their
    /// end.
    pub fn changed(&mut self, limits: &Limits) -> (bool, u64) {
        if self.memory.is_under_half(limits) {
            self.overflowing = false;
        }
        let wakes_spool = self.wants_to_write(limits) || self.spool.sleeps_through(&self.ledger());
        (wakes_spool && self.spool.wake(), self.settled_to())
    }

    /// Wakes the spool's thread: whether it slept.
    pub fn wake_spool(&mut self) -> bool {
        self.spool.wake()
    }

    /// Takes the next batch that is full, or due though it is not: from the live events or from those that were read
    /// back from disk.
    pub fn take(&mut self, batch_bytes: usize, from_disk: bool, limits: &Limits) -> Option<Vec<QueuedEvent>> {
        let most = (limits.batch_events, batch_bytes);
        self.memory.take(from_disk, self.due_to, self.first_seq, most)
    }

    /// Ends a batch.
    pub fn settle(&mut self, first: u64, end: Account) -> Option<Vec<QueuedEvent>> {
        let events = self.memory.land(first)?;
        events.iter().for_each(|event| self.end(event, end));
        Some(events)
    }

    /// Puts a batch back in its place in the order, with its bytes in memory of their own.
    pub fn give_back(&mut self, first: u64, own: &mut [Bytes], has_failed: bool) {
        let Some(events) = self.memory.land(first) else { return };
        let mut own = own.iter_mut();
        for mut event in events {
            if let Some(own) = own.next() {
                std::mem::swap(&mut event.json, own);
            }
            if has_failed {
                event.attempts += 1;
                if event.stored {
                    self.spool.attempt(event.seq, event.attempts);
                }
            }
            self.memory.insert(event);
        }
    }

    /// Divides a batch that is in flight into two.
    pub fn split(&mut self, first: u64, at: usize) {
        self.memory.split(first, at);
    }

    /// Makes everything captured so far due, and tells the place that it goes up to.
    pub fn make_due(&mut self) -> u64 {
        self.due_to = self.due_to.max(self.next_seq);
        self.due_to
    }

    /// Whether something waits that is not due yet.
    pub fn lingers(&self) -> bool {
        self.memory.lingers(self.due_to)
    }

    /// Takes note of whether delivery stands still, so that what is in memory had better be on disk. Whether the spool
    /// must be woken.
    pub fn set_in_trouble(&mut self, in_trouble: bool) -> bool {
        let changes = self.spool.set_in_trouble(in_trouble);
        (changes || self.spool.sleeps_through(&self.ledger())) && self.spool.wake()
    }

    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.dead.to_vec()
    }

    /// Sets an event aside that is in flight. Gives back what had to make room for it.
    pub fn set_aside(&mut self, letter: DeadLetter, limits: &Limits) -> Option<Vec<DeadLetter>> {
        let events = self.memory.land(letter.seq())?;
        for event in &events {
            if event.stored {
                self.spool.settle(event.seq, Account::DeadLettered);
            }
        }
        let stored = events.first().is_some_and(|event| event.stored);
        let from = if stored { Account::Spooled } else { Account::Queued };
        Some(self.dead_letter(letter, from, limits))
    }

    fn dead_letter(&mut self, letter: DeadLetter, from: Account, limits: &Limits) -> Vec<DeadLetter> {
        self.ledger.transfer(1, from, Account::DeadLettered);
        self.last_dead_letter = Some(Instant::now());
        self.dead_lettered += u64::from(letter.seq() >= self.first_seq);
        self.spool.dead_letter(&letter);
        self.keep_letter(letter, limits)
    }

    /// Keeps a dead letter that is counted. Gives back what had to make room for it.
    fn keep_letter(&mut self, letter: DeadLetter, limits: &Limits) -> Vec<DeadLetter> {
        let evicted = self.dead.push(letter, limits.dead_letters);
        self.drop_letters(&evicted, DropReason::DeadLettersFull);
        evicted
    }

    fn drop_letters(&mut self, letters: &[DeadLetter], reason: DropReason) {
        self.lose(letters.len() as u64, Account::DeadLettered, reason);
        letters.iter().for_each(|letter| self.spool.discard(letter.seq(), Some(Account::Dropped(reason))));
    }

    /// Makes the oldest dead letter an event again, if there is room for it. It is due at once.
    pub fn replay_one(&mut self, limits: &Limits) -> bool {
        let room = |event: &Bytes| self.memory.has_room(QueuedEvent::bytes_of(event), limits);
        if self.closed.is_some() || !self.dead.oldest().is_some_and(|letter| room(&letter.event)) {
            return false;
        }
        let Some(letter) = self.dead.pop() else { return false };
        self.ledger.transfer(1, Account::DeadLettered, Account::Queued);
        let seq = letter.seq();
        let event = QueuedEvent::new(letter.event, seq, letter.at);
        if self.spool.replay(seq) {
            self.memory.push_outbox(event);
        } else {
            self.memory.insert(event);
        }
        true
    }

    /// Drops the dead letters.
    pub fn discard_dead_letters(&mut self) -> Vec<DeadLetter> {
        let discarded = std::mem::take(&mut self.dead).into_vec();
        self.drop_letters(&discarded, DropReason::DeadLetterDiscarded);
        discarded
    }

    /// Ends admission. What is on disk stays there. True for the first caller.
    pub fn close(&mut self) -> bool {
        let is_first = self.closed.is_none();
        self.closed.get_or_insert(DropReason::AfterShutdown);
        for event in self.memory.release_backlog() {
            self.spool.release(event.seq, self.first_seq);
        }
        is_first
    }

    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Ends admission, and drops all that is in memory only, batches in flight included. Tells how many events that were,
    /// and gives back what is to be freed.
    pub fn abandon(&mut self) -> (u64, impl Sized + use<>) {
        self.abandoned = true;
        self.closed.get_or_insert(DropReason::AfterShutdown);
        let left = self.ledger.queued();
        self.lose(left, Account::Queued, DropReason::Shutdown);
        self.spool.tell_all(DropReason::Shutdown);
        self.spool.forget_released();
        (left, self.memory.clear())
    }

    /// Whether nothing is left to send: nothing in memory, or, while delivery stands still, nothing that is not on disk.
    pub fn is_done(&self) -> bool {
        self.memory.events() == 0 || (self.spool.is_in_trouble() && self.ledger.queued() == 0)
    }

    /// The lowest place of an event of this process that has not met its end.
    pub fn settled_to(&self) -> u64 {
        let first = self.memory.first_own(self.first_seq);
        first.into_iter().chain(self.spool.released_from()).min().unwrap_or(self.next_seq)
    }

    /// Whether live events are to be on disk: delivery stands still, everything ends, or memory fills up.
    fn wants_live_on_disk(&self, limits: &Limits) -> bool {
        self.spool.is_on() && (self.wants_all_on_disk() || self.memory.is_over_half(limits))
    }

    fn wants_all_on_disk(&self) -> bool {
        self.spool.is_in_trouble() || self.closed.is_some()
    }

    /// Whether the spool's thread has something to do at once.
    fn wants_to_write(&self, limits: &Limits) -> bool {
        self.spool.is_on() && (self.wants_live_on_disk(limits) || self.spool.is_urgent())
    }

    /// Counts events as dropped.
    fn lose(&mut self, events: u64, from: Account, reason: DropReason) {
        self.ledger.transfer(events, from, Account::Dropped(reason));
        if events > 0 && !reason.is_intended() {
            self.last_loss = Some(Instant::now());
        }
    }

    /// Counts an event that left memory for good.
    fn end(&mut self, event: &QueuedEvent, end: Account) {
        let from = if event.stored { Account::Spooled } else { Account::Queued };
        if event.stored {
            self.spool.settle(event.seq, end);
        }
        match end {
            Account::Dropped(reason) => self.lose(1, from, reason),
            end => self.ledger.transfer(1, from, end),
        }
    }

    /// Forgets the live events that are on disk: they are read back later.
    pub fn release_live(&mut self) -> VecDeque<QueuedEvent> {
        let released = self.memory.release_live();
        released.iter().for_each(|event| self.spool.release(event.seq, self.first_seq));
        released
    }
}

/// What the spool's thread does with it.
#[cfg(feature = "spool")]
impl State {
    pub fn expect_spool(&mut self, capacity_bytes: u64) {
        self.spool.expect(capacity_bytes);
    }

    /// The spool is open for the first time, with this in it. Gives back the dead letters for which there is no room.
    pub fn spool_opened(
        &mut self,
        contents: Contents,
        fill: Fill,
        write_ahead: bool,
        limits: &Limits,
    ) -> Vec<DeadLetter> {
        let Contents { totals, dead, crashed, .. } = contents;
        self.inherit(&totals, fill.events, dead.len() as u64);
        // The others are older than ours.
        let ours = std::mem::take(&mut self.dead).into_vec();
        let letters = dead.into_iter().map(|(_, letter)| letter).chain(ours);
        let evicted = letters.flat_map(|letter| self.keep_letter(letter, limits)).collect();
        if crashed > 0 {
            self.last_loss = Some(Instant::now());
            self.found_lost += crashed;
        }
        self.measured(fill);
        self.spool.opened(write_ahead);
        evicted
    }

    /// The spool works again, and has these of the events in memory still: the file may have been put back to an earlier
    /// state, or made anew.
    pub fn spool_recovered(&mut self, has: impl Fn(u64) -> bool) {
        self.spool.recovered();
        let missing = self.memory.mark_unstored(|seq| !has(seq));
        self.ledger.transfer(missing, Account::Spooled, Account::Queued);
    }

    /// The spool does not work: everything goes on in memory.
    pub fn spool_failed(&mut self, issue: SpoolIssue) {
        self.spool.failed(issue);
        self.empty_outbox(DropReason::SpoolUnavailable);
    }

    pub fn noticed(&mut self, issue: Option<SpoolIssue>) {
        self.spool.noticed(issue);
    }

    pub fn measured(&mut self, fill: Fill) {
        self.spool.measured(fill.bytes, fill.file_bytes);
    }

    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// What the spool has to do now, if anything.
    pub fn next_work(&mut self, limits: &Limits, now: std::time::Instant) -> Option<SpoolWork> {
        let ledger = self.ledger();
        let is_last = self.abandoned || (self.closed.is_some() && self.memory.events() == 0);
        self.spool.retry_when_full(now);
        let put = if self.spool.takes_events() { self.take_gathered(limits, now) } else { Vec::new() };
        let reads = self.spool.may_read(now)
            && self.closed.is_none()
            && !self.memory.is_over_half(limits)
            && self.memory.backlog() < limits.batch_events
            && ledger.spooled > self.memory.stored();
        let load = reads.then_some((2 * limits.batch_events, 2 * limits.batch_bytes));
        let writes = !put.is_empty() || is_last || self.spool.must_write(&ledger, now);
        let note =
            (!writes && self.spool.must_note(&ledger, now)).then(|| self.spool.on_disk(ledger.totals()));
        if !writes && load.is_none() && note.is_none() {
            return None;
        }
        if writes || note.is_some() {
            self.spool.note(ledger, now);
        }
        let released = self.spool.take_released();
        let changes = writes.then(|| self.spool.take_changes(put, ledger, now));
        Some(SpoolWork { changes, note, released, load, is_last })
    }

    /// How long nothing may be due unless somebody wakes the spool's thread, which sleeps from now on.
    pub fn sleep(&mut self, now: std::time::Instant) -> std::time::Duration {
        self.spool.sleep(&self.ledger.ledger(), now)
    }

    /// The events that are to be written now: those that have gathered; all, when delivery stands still or everything
    /// ends; the newest, when memory fills up.
    fn take_gathered(&mut self, limits: &Limits, now: std::time::Instant) -> Vec<Stored> {
        let wants_all = self.wants_all_on_disk();
        let wants_live = self.memory.is_over_half(limits);
        if !wants_all && !wants_live && !self.spool.has_gathered(now) {
            return Vec::new();
        }
        let mut bytes = 0;
        let events = self.memory.unstored(wants_live, wants_all).take(WRITE_EVENTS).take_while(|event| {
            let fits = bytes < WRITE_BYTES;
            bytes += event.json.len();
            fits
        });
        let mut chunk: Vec<Stored> = events.map(Stored::from).collect();
        if chunk.len() < WRITE_EVENTS && bytes < WRITE_BYTES {
            self.spool.begin_gathering();
        }
        chunk.sort_unstable_by_key(|event| event.seq);
        chunk
    }

    /// What became of a round of work. `applied` is `None` when nothing is known to be written. Gives those who wait for
    /// what is written now, to be told outside the lock.
    pub fn finish_work(
        &mut self,
        work: &SpoolWork,
        applied: Option<Applied>,
        read: Read,
        fill: Fill,
    ) -> Vec<Waiter> {
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
                self.count_evicted(&applied);
                if !rest.is_empty() {
                    self.spool.filled_up();
                    self.empty_outbox(DropReason::SpoolFull);
                }
                self.reconcile(fill);
            }
            (Some(changes), None) => {
                let memory = &self.memory;
                self.spool.give_back(changes, |seq| memory.is_in_outbox(seq));
            }
            (None, _) => {}
        }
        self.measured(fill);
        waiters
    }

    /// Forgets copies while memory is short of room.
    pub fn relieve(&mut self, limits: &Limits) -> VecDeque<QueuedEvent> {
        let is_short = self.memory.is_over_half(limits) && self.memory.live_stored() > 0;
        if is_short { self.release_live() } else { VecDeque::new() }
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
        limits: &Limits,
    ) -> Vec<DeadLetter> {
        self.inherit(counts, applied.written as u64, letters.len() as u64);
        self.count_evicted(applied);
        letters.into_iter().flat_map(|letter| self.keep_letter(letter, limits)).collect()
    }

    /// Counts what another process counted, with its events and dead letters that are on disk here.
    fn inherit(&mut self, counts: &Totals, events: u64, letters: u64) {
        self.ledger.transfer(counts.delivered, Account::Outside, Account::Delivered);
        for (reason, count) in counts.dropped.iter() {
            self.ledger.transfer(count, Account::Outside, Account::Dropped(reason));
        }
        self.ledger.transfer(events, Account::Outside, Account::Spooled);
        self.ledger.transfer(letters, Account::Outside, Account::DeadLettered);
        self.inherited.add(counts);
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
            self.spool.settle(seq, Account::Delivered);
        }
    }

    pub fn read(&mut self, Read { events, is_all }: Read) {
        let Some(last) = events.last().map(|last| last.seq) else { return self.spool.read_nothing() };
        if self.closed.is_some() {
            return self.spool.release_all(events.iter().map(|event| event.seq));
        }
        self.spool.read(last, is_all, self.first_seq);
        events.into_iter().map(QueuedEvent::from).for_each(|event| self.memory.insert(event));
    }

    /// What the disk turns out not to have is lost: a damaged record. What it has in excess is there again, by a salvage,
    /// and will be delivered again.
    fn reconcile(&mut self, fill: Fill) {
        let spooled = self.ledger.spooled();
        let known = spooled + self.spool.settled();
        let missing = known.saturating_sub(fill.events).min(spooled.saturating_sub(self.memory.stored()));
        self.lose(missing, Account::Spooled, DropReason::Crash);
        let again = fill.events.saturating_sub(known);
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
    }
}

#[cfg(test)]
impl State {
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    pub fn spool(&mut self) -> &mut SpoolLink {
        &mut self.spool
    }

    /// Events of another process turn out to be on disk.
    #[cfg(feature = "spool")]
    pub fn found_on_disk(&mut self, events: u64) {
        self.inherit(&Totals { captured: events, ..Totals::default() }, events, 0);
    }
}

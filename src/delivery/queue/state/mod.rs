#[cfg(feature = "spool")]
mod storing;

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;

use super::limits::{Limits, Overflow};
use super::memory::Memory;
use super::queued::{EventEnd, QueuedEvent};
use super::spool_link::{Place, Sample, SpoolLink, Waiter};
use super::{QueueFill, Snapshot};
use crate::delivery::dead_letter::{DeadLetter, DeadLetters};
use crate::delivery::ledger::{Account, Accounts, DropReason, Ledger, Totals};
use crate::rt::{Episode, clock};
use crate::{Error, ErrorKind};

/// What the queue's lock guards: the ledger, the events in memory, what the spool is owed, and the order of capture.
///
/// Each method is one step of an event, and moves it in all of them at once.
#[derive(Debug, Default)]
pub struct State {
    pub limits: Limits,
    ledger: Accounts,
    memory: Memory,
    pub spool: SpoolLink,
    dead: DeadLetters,
    /// Events of other processes are before this place.
    first_seq: u64,
    next_seq: u64,
    /// Events before this place have waited for a full batch, and do not wait again.
    due_to: u64,
    closed: Option<DropReason>,
    /// Everything was dropped; what a worker that still runs says no longer counts.
    abandoned: bool,
    overflowing: bool,
    /// For the log, which the worker writes.
    overflow: Episode,
    overflow_is_news: bool,
    /// Aliases that merge nothing, and what the log says of them.
    unmergeable: Remarks,
    /// Distinct ids that were too long, and what the log says of them.
    cut_ids: Remarks,
    /// Whom the step that is under way concerns.
    concerned: Concerned,
    last_loss: Option<Instant>,
    last_dead_letter: Option<Instant>,
    /// Events of this process that became dead letters.
    dead_lettered: u64,
    inherited: Inherited,
}

#[derive(Debug, Default)]
struct Concerned {
    worker: bool,
    spool: bool,
    /// Events moved, so that somebody may wait for what that changes.
    all: bool,
}

/// What this process got from earlier ones.
#[derive(Debug, Default)]
struct Inherited {
    /// The part of the ledger that they counted.
    totals: Totals,
    /// Events that they turned out to have lost.
    found_lost: u64,
}

#[cfg(feature = "spool")]
impl Concerned {
    fn all(&mut self) {
        self.all = true;
    }

    fn worker(&mut self, concerned: bool) {
        self.worker |= concerned;
    }
}

#[cfg(feature = "spool")]
impl Inherited {
    fn counted(&mut self, totals: &Totals) {
        self.totals.add(totals);
    }

    fn lost(&mut self, events: u64) {
        self.found_lost += events;
    }
}

/// Whom a step concerns, to be told outside the lock.
pub struct Wakes {
    pub worker: bool,
    pub spool: bool,
    /// Up to where all events have met their end, if that may have changed.
    pub settled_to: Option<u64>,
}

/// What happens to events that are delivered all the same. The worker logs it once an episode: no subscriber runs on a
/// caller's thread.
#[derive(Debug, Default)]
struct Remarks {
    count: u64,
    episode: Episode,
    is_news: bool,
}

impl Remarks {
    /// Counts one. True if the worker is to log it.
    fn add(&mut self) -> bool {
        self.count += 1;
        let begins = self.episode.begins(Instant::now().into_std());
        self.is_news |= begins;
        begins
    }

    fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }
}

/// What a step took out of memory, to be freed outside the lock.
pub type Freed = (VecDeque<QueuedEvent>, Vec<DeadLetter>);

impl State {
    pub fn new(limits: Limits, first_seq: u64, closed: Option<DropReason>) -> Self {
        let memory = if closed.is_none() { Memory::new(&limits) } else { Memory::default() };
        Self { limits, memory, closed, first_seq, next_seq: first_seq, due_to: first_seq, ..Self::default() }
    }

    /// Whom the latest step concerns.
    #[inline]
    pub fn take_wakes(&mut self) -> Wakes {
        let Concerned { worker, mut spool, all } = std::mem::take(&mut self.concerned);
        if all {
            self.overflowing &= !self.memory.is_under_half(&self.limits);
            spool |= self.wants_to_write() || self.spool.sleeps_through(&self.ledger());
        }
        Wakes { worker, spool: spool && self.spool.wake(), settled_to: all.then(|| self.settled_to()) }
    }

    pub fn ledger(&self) -> Ledger {
        self.ledger.ledger()
    }

    /// What this process counted: without what the spool remembers of others.
    pub fn own_totals(&self) -> Totals {
        let mut totals = self.ledger.totals();
        totals.subtract(&self.inherited.totals);
        totals
    }

    pub fn snapshot(&self) -> Snapshot {
        let Inherited { totals: Totals { captured, delivered, dropped }, found_lost } = self.inherited;
        let (events, bytes) = self.memory.room_taken();
        Snapshot {
            fill: QueueFill {
                events,
                capacity: self.limits.events as u64,
                bytes: bytes as u64,
                capacity_bytes: self.limits.bytes as u64,
            },
            ledger: self.ledger(),
            own: self.own_totals(),
            taken_over: captured.saturating_sub(delivered + dropped.total()) + found_lost,
            found_lost,
            dead_lettered: self.dead_lettered,
            unmergeable: self.unmergeable.count,
            cut_ids: self.cut_ids.count,
            spool: self.spool.health(self.ledger.spooled(), clock::now()),
            last_loss: self.last_loss,
            last_dead_letter: self.last_dead_letter,
        }
    }

    /// Why an event of any size would be refused now, so that it need not be encoded.
    pub fn refuses_all(&self) -> Option<DropReason> {
        let is_full = self.limits.overflow == Overflow::DropNewest
            && !self.memory.has_room(0, &self.limits)
            && self.memory.live_stored() == 0;
        self.closed.or(is_full.then_some(DropReason::QueueFull))
    }

    /// Lets an event in, or drops it.
    pub fn enter(&mut self, json: Bytes, waiter: Option<Waiter>) -> Option<Freed> {
        let bytes = QueuedEvent::bytes_of(&json);
        let too_large = (bytes > self.limits.bytes).then_some(DropReason::TooLarge);
        if let Some(reason) = self.closed.or(too_large) {
            self.refuse(reason, waiter);
            return None;
        }
        if self.limits.refuses(&json) {
            SpoolLink::refuse(waiter, DropReason::TooLarge);
            return Some((VecDeque::new(), self.set_aside_large(json)));
        }
        let mut place = self.spool.place(waiter.as_ref());
        let mut freed = None;
        // Nothing makes room for an event that is refused anyway.
        if !matches!(place, Place::Refused(_)) && !self.memory.has_room(bytes, &self.limits) {
            freed = Some(self.make_room(bytes));
            if !self.memory.has_room(bytes, &self.limits) {
                place = Place::Refused(DropReason::QueueFull);
            }
        }
        match place {
            Place::Refused(reason) => self.refuse(reason, waiter),
            Place::Outbox => {
                let event = self.captured(json);
                self.concerned.spool |= self.spool.gather(event.seq, waiter);
                self.memory.push_outbox(event);
            }
            Place::Live => {
                let event = self.captured(json);
                self.concerned.worker |= self.memory.push(event, &self.limits);
                let is_batch = self.wants_live_on_disk() && self.memory.has_unstored_batch(&self.limits);
                self.concerned.spool |= self.spool.wakes_for(is_batch);
            }
        }
        freed.map(|freed| (freed, Vec::new()))
    }

    /// Counts an event that enters, and gives it its place in the order.
    fn captured(&mut self, json: Bytes) -> QueuedEvent {
        self.ledger.transfer(1, Account::Outside, Account::Queued);
        self.next_seq += 1;
        QueuedEvent::new(json, self.next_seq - 1, self.spool.captured_at())
    }

    /// Counts an event as dropped that did not enter.
    #[cold]
    pub fn refuse(&mut self, reason: DropReason, waiter: Option<Waiter>) {
        self.lose(1, Account::Outside, reason);
        SpoolLink::refuse(waiter, reason);
        if reason == DropReason::QueueFull {
            self.note_overflow();
        }
        self.concerned.spool |= self.spool.sleeps_through(&self.ledger());
    }

    #[cold]
    fn set_aside_large(&mut self, json: Bytes) -> Vec<DeadLetter> {
        let letter =
            DeadLetter::new(self.next_seq, Bytes::copy_from_slice(&json), &Error::new(ErrorKind::TooLarge));
        self.next_seq += 1;
        self.dead_letter(letter, Account::Outside)
    }

    /// Makes room for a new event: forgets what is on disk too, and drops the oldest if that is the policy.
    #[cold]
    fn make_room(&mut self, bytes: usize) -> VecDeque<QueuedEvent> {
        let mut freed = if self.memory.live_stored() > 0 { self.release_live() } else { VecDeque::new() };
        while self.limits.overflow == Overflow::DropOldest
            && !self.memory.has_room(bytes, &self.limits)
            && let Some(oldest) = self.memory.evict()
        {
            self.lose(1, Account::Queued, DropReason::QueueFull);
            self.spool.tell(oldest.seq, Err(DropReason::QueueFull));
            self.note_overflow();
            self.concerned.all = true;
            freed.push_back(oldest);
        }
        freed
    }

    /// Takes note that the queue overflows. The worker logs that, if it is news: no subscriber runs on a caller's thread.
    fn note_overflow(&mut self) {
        if !std::mem::replace(&mut self.overflowing, true) && self.overflow.begins(Instant::now().into_std())
        {
            (self.overflow_is_news, self.concerned.worker) = (true, true);
        }
    }

    /// Whether the queue began to overflow since this was last asked.
    pub fn take_overflow_news(&mut self) -> bool {
        std::mem::take(&mut self.overflow_is_news)
    }

    /// Counts an alias that PostHog takes but does not carry out. The worker logs that, if it is news.
    pub fn note_unmergeable(&mut self) {
        self.concerned.worker |= self.unmergeable.add();
    }

    /// Whether an episode of such aliases began since this was last asked.
    pub fn take_unmergeable_news(&mut self) -> bool {
        self.unmergeable.take_news()
    }

    /// Counts a distinct id that was cut to what PostHog keeps. The worker logs that, if it is news.
    #[cold]
    pub fn note_cut_id(&mut self) {
        self.concerned.worker |= self.cut_ids.add();
    }

    /// Whether an episode of such ids began since this was last asked.
    pub fn take_cut_id_news(&mut self) -> bool {
        self.cut_ids.take_news()
    }

    /// Takes the next batch that is full, or due though it is not: from the live events or from those that were read
    /// back from disk.
    /// `most` events and bytes are a full batch. What comes back from it is due.
    pub fn take(&mut self, most: (usize, usize), from_disk: bool) -> Option<Vec<QueuedEvent>> {
        let batch = self.memory.take(from_disk, self.due_to, self.first_seq, most);
        let last = batch.as_ref().and_then(|batch| batch.last()).filter(|last| !last.from_disk);
        self.due_to = self.due_to.max(last.map_or(0, |last| last.seq + 1));
        self.concerned.spool |= from_disk && batch.is_some();
        batch
    }

    /// Whether events wait that are not in flight: in memory, or on disk and to be read back.
    pub fn has_waiting(&self) -> bool {
        let is_read_back =
            self.spool.is_usable() && self.closed.is_none() && !self.memory.is_over_half(&self.limits);
        self.memory.has_waiting() || (is_read_back && self.ledger.spooled() > self.memory.stored())
    }

    /// Ends a batch.
    pub fn settle(&mut self, first: u64, end: Account) -> Option<Vec<QueuedEvent>> {
        let events = self.memory.land(first)?;
        self.concerned.all = true;
        if end == Account::Delivered {
            self.spool.trouble.delivered(Instant::now());
        }
        events.iter().for_each(|event| self.end(event, end));
        Some(events)
    }

    /// Puts a batch back in its place in the order, with its bytes in memory of their own.
    pub fn give_back(&mut self, first: u64, own: &mut [Bytes], has_failed: bool) {
        self.memory.swap_json(first, own);
        for mut event in self.memory.land(first).into_iter().flatten() {
            event.attempts += u32::from(has_failed);
            if has_failed && event.stored {
                self.spool.journal.attempt(event.seq, event.attempts);
            }
            self.memory.insert(event);
        }
        self.concerned.all = true;
    }

    /// Gives a batch that stays in flight these bytes of its own.
    pub fn detach(&mut self, first: u64, own: &mut [Bytes]) {
        self.memory.swap_json(first, own);
    }

    /// Ends each event of a batch in its own way. Those that are sent again stay in flight, as a batch of their own. Gives
    /// back what is to be freed.
    pub fn settle_each(
        &mut self,
        first: u64,
        ends: Vec<EventEnd>,
    ) -> Option<(Vec<QueuedEvent>, Vec<DeadLetter>)> {
        let events = self.memory.land(first)?;
        self.concerned.all = true;
        if ends.iter().any(|end| matches!(end, EventEnd::Settled(Account::Delivered))) {
            self.spool.trouble.delivered(Instant::now());
        }
        let (mut settled, mut again, mut evicted) = (Vec::new(), Vec::new(), Vec::new());
        for (event, end) in events.into_iter().zip(ends) {
            match end {
                EventEnd::Again { unanswered } => {
                    again.push(QueuedEvent { unanswered, ..event });
                    continue;
                }
                EventEnd::Settled(end) => self.end(&event, end),
                EventEnd::DeadLetter(letter) => evicted.extend(self.set_aside_landed(&event, letter)),
            }
            settled.push(event);
        }
        self.memory.fly_again(again);
        Some((settled, evicted))
    }

    /// Divides a batch that is in flight into several.
    pub fn divide(&mut self, first: u64, groups: &[usize]) {
        self.memory.divide(first, groups);
    }

    /// Makes everything captured so far due, and tells the place that it goes up to.
    pub fn make_due(&mut self) -> u64 {
        self.due_to = self.due_to.max(self.next_seq);
        self.due_to
    }

    /// The same at once, for those who wait for it.
    pub fn flush(&mut self) -> u64 {
        (self.concerned.worker, self.concerned.all) = (true, true);
        self.make_due()
    }

    /// Whether something waits that is not due yet.
    pub fn lingers(&self) -> bool {
        self.memory.lingers(self.due_to)
    }

    /// Takes note of whether delivery pauses, and of what has waited for too long: what is in memory had better be on disk
    /// then.
    pub fn set_in_trouble(&mut self, is_paused: bool) {
        if !self.spool.is_on() {
            return;
        }
        let changes = self.spool.trouble.update(Sample {
            now: Instant::now(),
            is_paused,
            due_to: self.due_to,
            waits_from: self.memory.first_live().unwrap_or(self.next_seq),
            unstored_from: self.memory.first_unstored().unwrap_or(self.next_seq),
        });
        self.concerned.spool |= changes || self.spool.sleeps_through(&self.ledger());
    }

    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.dead.to_vec()
    }

    /// Sets an event aside that is in flight. Gives back what had to make room for it.
    pub fn set_aside(&mut self, letter: DeadLetter) -> Option<Vec<DeadLetter>> {
        let [event] = &self.memory.land(letter.seq())?[..] else { return None };
        Some(self.set_aside_landed(event, letter))
    }

    fn set_aside_landed(&mut self, event: &QueuedEvent, letter: DeadLetter) -> Vec<DeadLetter> {
        let from = if event.stored { Account::Spooled } else { Account::Queued };
        if event.stored {
            self.spool.journal.settle(event.seq, Account::DeadLettered);
        }
        self.dead_letter(letter, from)
    }

    fn dead_letter(&mut self, letter: DeadLetter, from: Account) -> Vec<DeadLetter> {
        self.ledger.transfer(1, from, Account::DeadLettered);
        self.last_dead_letter = Some(Instant::now());
        self.dead_lettered += u64::from(letter.seq() >= self.first_seq);
        self.spool.dead_letter(&letter);
        self.concerned.all = true;
        self.keep_letter(letter)
    }

    /// Keeps a dead letter that is counted. Gives back what had to make room for it.
    fn keep_letter(&mut self, letter: DeadLetter) -> Vec<DeadLetter> {
        let evicted = self.dead.push(letter, self.limits.dead_letters);
        self.drop_letters(&evicted, DropReason::DeadLettersFull);
        evicted
    }

    fn drop_letters(&mut self, letters: &[DeadLetter], reason: DropReason) {
        self.lose(letters.len() as u64, Account::DeadLettered, reason);
        letters.iter().for_each(|letter| self.spool.discard(letter.seq(), Some(Account::Dropped(reason))));
    }

    /// Makes dead letters events again, as long as there is room. They are due at once, and as new as if they were captured
    /// now. Tells how many.
    pub fn replay_dead_letters(&mut self) -> u64 {
        let mut replayed = 0;
        while self.closed.is_none()
            && let Some(oldest) = self.dead.oldest()
            && self.memory.has_room(QueuedEvent::bytes_of(&oldest.event), &self.limits)
            && let Some(letter) = self.dead.pop()
        {
            self.ledger.transfer(1, Account::DeadLettered, Account::Queued);
            let seq = letter.seq();
            let event = QueuedEvent::new(letter.event, seq, self.spool.captured_at());
            if self.spool.replay(seq) {
                self.memory.push_outbox(event);
            } else {
                self.memory.insert(event);
            }
            replayed += 1;
        }
        self.concerned.spool |= replayed > 0;
        self.flush();
        replayed
    }

    /// Drops the dead letters.
    pub fn discard_dead_letters(&mut self) -> Vec<DeadLetter> {
        self.concerned.all = true;
        let discarded = std::mem::take(&mut self.dead).into_vec();
        self.drop_letters(&discarded, DropReason::DeadLetterDiscarded);
        discarded
    }

    /// Ends admission. What is here becomes due, but for what lies on disk anyway. True for the first caller.
    pub fn close(&mut self) -> (bool, VecDeque<QueuedEvent>) {
        let is_first = self.closed.is_none();
        self.closed.get_or_insert(DropReason::AfterShutdown);
        let backlog = self.memory.release_backlog();
        backlog.iter().for_each(|event| self.spool.release(event.seq, self.first_seq));
        self.concerned.spool = true;
        self.flush();
        (is_first, backlog)
    }

    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Ends admission, and drops all that is in memory only, batches in flight included. Tells how many events that were,
    /// and gives back what is to be freed.
    pub fn abandon(&mut self) -> (u64, impl Sized + use<>) {
        self.abandoned = true;
        (self.concerned.all, self.concerned.spool) = (true, true);
        self.closed.get_or_insert(DropReason::AfterShutdown);
        let left = self.ledger.queued();
        self.lose(left, Account::Queued, DropReason::Shutdown);
        self.spool.forget_released();
        (left, (self.memory.clear(), self.spool.take_waiters()))
    }

    /// When [`set_in_trouble`](Self::set_in_trouble) is due again, whatever happens until then.
    pub fn trouble_changes_at(&self) -> Option<Instant> {
        self.spool.trouble.changes_at()
    }

    /// Whether everything was dropped, so that nothing is delivered any more.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Whether nothing is left to send: nothing in memory, or, while delivery stands still, nothing that is not on disk.
    pub fn is_done(&self) -> bool {
        self.memory.events() == 0 || (self.spool.trouble.stands_still() && self.ledger.queued() == 0)
    }

    /// Whether the disk is about to get what is in memory only.
    pub fn is_being_stored(&self) -> bool {
        self.ledger.queued() > 0 && self.wants_all_on_disk() && self.spool.will_write()
    }

    /// The lowest place of an event of this process that has not met its end.
    pub fn settled_to(&self) -> u64 {
        let first = self.memory.first_own(self.first_seq);
        first.into_iter().chain(self.spool.released_from()).min().unwrap_or(self.next_seq)
    }

    /// Whether live events are to be on disk: delivery stands still, everything ends, or memory fills up.
    fn wants_live_on_disk(&self) -> bool {
        self.spool.is_on() && (self.wants_all_on_disk() || self.memory.is_over_half(&self.limits))
    }

    fn wants_all_on_disk(&self) -> bool {
        self.spool.trouble.spills() || self.closed.is_some() || self.spool.stores_all()
    }

    /// Whether the spool's thread has something to do at once.
    fn wants_to_write(&self) -> bool {
        self.spool.is_on() && (self.wants_live_on_disk() || self.spool.journal.is_urgent())
    }

    /// Counts events as dropped.
    fn lose(&mut self, events: u64, from: Account, reason: DropReason) {
        self.ledger.transfer(events, from, Account::Dropped(reason));
        if events > 0 && !reason.is_intended() {
            self.note_loss();
        }
    }

    fn note_loss(&mut self) {
        self.last_loss = Some(Instant::now());
    }

    /// Counts an event that left memory for good.
    fn end(&mut self, event: &QueuedEvent, end: Account) {
        let from = if event.stored { Account::Spooled } else { Account::Queued };
        if event.stored {
            self.spool.journal.settle(event.seq, end);
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

#[cfg(test)]
impl State {
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Events of another process turn out to be on disk.
    #[cfg(feature = "spool")]
    pub fn found_on_disk(&mut self, events: u64) {
        self.inherit(&Totals { captured: events, ..Totals::default() }, events, 0);
    }
}

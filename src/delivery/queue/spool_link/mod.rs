mod growth;
mod journal;
mod round;
mod trouble;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::spool_health::{SpoolHealth, SpoolIssue, SpoolState};
use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::ledger::{Account, DropReason, Ledger, Totals};
use crate::delivery::spool::{Changes, Fill, SteadyClock, Stored};
use crate::rt::clock;
pub use crate::rt::thread::Wake;
use growth::Growth;
use journal::{Journal, SETTLE_EVERY};
use round::Round;
pub use round::{PATIENCE, Watch};
pub use trouble::{Sample, Trouble};

/// Told when an event is on disk, or why it is not.
pub type Waiter = oneshot::Sender<Result<(), DropReason>>;

/// What the queue owes the spool, and knows of it.
#[derive(Debug, Default)]
pub struct SpoolLink {
    state: LinkState,
    /// The clock of this process, if there is a spool.
    clock: Option<SteadyClock>,
    /// Every event goes to disk before it is sent.
    write_ahead: bool,
    pub trouble: Trouble,
    sleep: Sleep,
    /// Until when events that go to disk first wait for others to share the write.
    gather_until: Option<Instant>,
    /// Memory holds events that are to be on disk, and came while the spool did not work, or whose file is gone.
    stores_all: bool,
    spilled_at: Option<Instant>,
    pub journal: Journal,
    waiters: BTreeMap<u64, Waiter>,
    is_called: bool,
    has_ended: bool,
    /// The lowest place of an event of this process that may be on disk only.
    released_from: Option<u64>,
    /// Reading back gave nothing, though there should be something: it is left alone until then.
    nothing_until: Option<Instant>,
    /// The ledger that was noted last, and when.
    noted: (Ledger, Option<Instant>),
    /// The ledger that the disk knows, and since when.
    written: (Ledger, Option<Instant>),
    round: Round,
    /// Why it fails, while it does.
    failure: Option<SpoolIssue>,
    /// What a person should look at though it works.
    notice: Option<SpoolIssue>,
    bytes: u64,
    capacity_bytes: u64,
    file_bytes: u64,
    growth: Growth,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LinkState {
    /// There is no spool.
    #[default]
    Off,
    Opening,
    Ready,
    /// It is full until then.
    Full(Instant),
    Failing,
}

/// How the spool's thread waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sleep {
    #[default]
    Awake,
    /// It notes the counts in a moment.
    Noting,
    /// It looks again in a moment, and need not be told of each event.
    Light,
    /// Somebody must wake it when anything changes.
    Deep,
}

/// Where an event goes that has just come.
#[derive(Debug)]
pub enum Place {
    Live,
    /// To disk, before it may be sent.
    Outbox,
    Refused(DropReason),
}

/// How long events that go to disk first wait for others: thousands share a write, and nobody notices.
const GATHER: Duration = Duration::from_millis(5);
/// How often the counts alone are written, for the case that the power fails.
const LEDGER_EVERY: Duration = Duration::from_secs(10);
/// How often they are noted, for the case that the process is killed: what it captures in this time, nobody counts. A note
/// is one write to the page cache.
const NOTE_EVERY: Duration = Duration::from_millis(20);
/// How often fewer events than a batch go to disk while delivery stands still. Each time costs an `fsync`.
const SPILL_EVERY: Duration = Duration::from_millis(100);
/// How long a full spool is left alone.
const FULL_FOR: Duration = Duration::from_millis(500);

/// What sending does with it.
impl SpoolLink {
    pub fn is_on(&self) -> bool {
        self.state != LinkState::Off
    }

    /// Returns the time in milliseconds since 1970 that an event gets that is captured now. Without a spool nobody asks for
    /// it.
    pub fn captured_at(&self) -> u64 {
        self.clock.map_or(0, |steady| steady.millis(clock::now()))
    }

    /// `None` when there is no spool.
    pub fn health(&self, events: u64, now: Instant) -> Option<SpoolHealth> {
        let state = match self.state {
            LinkState::Off => return None,
            LinkState::Opening => SpoolState::Opening,
            LinkState::Ready => SpoolState::Ready,
            LinkState::Full(_) => SpoolState::Full,
            LinkState::Failing => SpoolState::Failing,
        };
        Some(SpoolHealth {
            state,
            issue: self.failure.or(self.notice),
            events,
            bytes: self.bytes,
            capacity_bytes: self.capacity_bytes,
            file_bytes: self.file_bytes,
            full_in: self.growth.full_in(now, self.bytes, self.capacity_bytes),
        })
    }

    /// Where an event goes. One that somebody waits for is of no use to them in memory.
    pub fn place(&self, waiter: Option<&Waiter>) -> Place {
        let is_awaited = waiter.is_some_and(|waiter| !waiter.is_closed());
        match self.state {
            LinkState::Ready if self.write_ahead || is_awaited => Place::Outbox,
            LinkState::Opening if is_awaited => Place::Outbox,
            LinkState::Full(_) if is_awaited => Place::Refused(DropReason::SpoolFull),
            LinkState::Failing | LinkState::Off if is_awaited => Place::Refused(DropReason::SpoolUnavailable),
            _ => Place::Live,
        }
    }

    /// An event has come to the outbox. Whether the spool's thread must be told: once a gather, and at once where
    /// somebody waits.
    pub fn gather(&mut self, seq: u64, waiter: Option<Waiter>) -> bool {
        let begins = self.gather_until.is_none();
        match waiter {
            Some(waiter) => {
                self.waiters.insert(seq, waiter);
                self.gather_until = Some(clock::now());
                true
            }
            None if begins => {
                self.gather_until = Some(clock::now() + GATHER);
                true
            }
            None => false,
        }
    }

    /// Whether the spool's thread does not know that there is something to note.
    pub fn sleeps_through(&self, ledger: &Ledger) -> bool {
        matches!(self.sleep, Sleep::Light | Sleep::Deep) && self.noted.0 != *ledger
    }

    /// Whether the spool's thread must be woken for live events that are to be on disk: for a batch of them. It looks for
    /// fewer by itself.
    pub fn wakes_for(&self, is_batch: bool) -> bool {
        match self.sleep {
            Sleep::Awake => false,
            Sleep::Noting => is_batch,
            // The counts are to be noted in a moment.
            Sleep::Light => is_batch || self.is_usable(),
            Sleep::Deep => true,
        }
    }

    /// Wakes the spool's thread: whether it slept.
    pub fn wake(&mut self) -> bool {
        std::mem::take(&mut self.sleep) != Sleep::Awake
    }

    /// Whether somebody waits for the event to be on disk, and still does.
    pub fn is_awaited(&self, seq: u64) -> bool {
        !self.waiters.is_empty() && self.waiters.get(&seq).is_some_and(|waiter| !waiter.is_closed())
    }

    /// Tells who waits for it what became of an event.
    pub fn tell(&mut self, seq: u64, result: Result<(), DropReason>) {
        if self.waiters.is_empty() {
            return;
        }
        if let Some(waiter) = self.waiters.remove(&seq) {
            let _ = waiter.send(result);
        }
    }

    /// Tells who would have waited for an event that was refused.
    pub fn refuse(waiter: Option<Waiter>, reason: DropReason) {
        if let Some(waiter) = waiter {
            let _ = waiter.send(Err(reason));
        }
    }

    /// Those who wait, to be dropped outside the lock: that tells them that their event was.
    pub fn take_waiters(&mut self) -> impl Sized + use<> {
        std::mem::take(&mut self.waiters)
    }

    /// Memory forgets an event that is on disk.
    pub fn release(&mut self, seq: u64, first_seq: u64) {
        self.journal.release([seq]);
        if seq >= first_seq {
            self.released_from = Some(self.released_from.map_or(seq, |from| from.min(seq)));
        }
    }

    /// The lowest place of an event of this process that may be on disk only.
    pub fn released_from(&self) -> Option<u64> {
        self.released_from
    }

    /// Nothing that is on disk is waited for any more.
    pub fn forget_released(&mut self) {
        self.released_from = None;
    }

    pub fn dead_letter(&mut self, letter: &DeadLetter) {
        if self.is_on() {
            self.journal.dead_letter(letter);
        }
    }

    /// A dead letter goes, to this end if it has one.
    pub fn discard(&mut self, letter: u64, end: Option<Account>) {
        if self.is_on() {
            self.journal.discard(letter, end);
        }
    }

    /// A dead letter becomes an event again. Whether it goes to disk as such first: if it is there as a dead letter, that
    /// ends when it comes as an event.
    pub fn replay(&mut self, letter: u64) -> bool {
        if self.state != LinkState::Ready {
            self.discard(letter, None);
            return false;
        }
        self.journal.forget_dead_letter(letter);
        self.gather(letter, None);
        true
    }
}

/// What the spool's thread does with it.
impl SpoolLink {
    /// There will be a spool of that size.
    pub fn expect(&mut self, capacity_bytes: u64) {
        self.state = LinkState::Opening;
        self.clock = Some(SteadyClock::new(clock::wall(), clock::now()));
        self.capacity_bytes = capacity_bytes;
    }

    pub fn clock(&self) -> Option<SteadyClock> {
        self.clock
    }

    /// It is open for the first time.
    pub fn opened(&mut self, write_ahead: bool) {
        self.write_ahead = write_ahead;
        self.stores_all = write_ahead;
        self.state = LinkState::Ready;
        self.failure = None;
    }

    /// It works again. A write comes first, and tells how much there is.
    pub fn recovered(&mut self) {
        self.state = LinkState::Ready;
        self.failure = None;
        self.stores_all |= self.write_ahead;
        self.journal.make_due();
    }

    /// Writes what is in memory only, whether or not it waits for long.
    pub fn store_all(&mut self) {
        self.stores_all = true;
    }

    pub fn stores_all(&self) -> bool {
        self.stores_all && self.takes_events()
    }

    pub fn failed(&mut self, issue: SpoolIssue) {
        self.state = LinkState::Failing;
        self.failure = Some(issue);
        self.gather_until = None;
    }

    /// The disk is asked for something. Whether the thread that watches it must be woken.
    pub fn begin_round(&mut self, now: Instant) -> bool {
        self.round.begin(now)
    }

    /// The disk has answered. Whether that is to be logged.
    pub fn end_round(&mut self) -> bool {
        if self.round.end() && self.failure == Some(SpoolIssue::Hangs) {
            self.recovered();
        }
        self.round.was_logged()
    }

    /// The thread that asks the disk has ended.
    pub fn end(&mut self) {
        self.has_ended = true;
    }

    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub fn hangs(&self) -> bool {
        self.round.hangs()
    }

    /// What the thread that watches the disk has to do.
    pub fn watch(&mut self, now: Instant, patience: Duration) -> Watch {
        self.round.watch(now, patience)
    }

    /// Something is there for the spool's thread that is no work of the queue's.
    pub fn call(&mut self) {
        self.is_called = true;
    }

    /// Whether that is so, once.
    pub fn is_called(&mut self) -> bool {
        std::mem::take(&mut self.is_called)
    }

    pub fn filled_up(&mut self) {
        self.state = LinkState::Full(clock::now() + FULL_FOR);
        self.gather_until = None;
    }

    /// What a person should look at though it works, if anything.
    pub fn noticed(&mut self, issue: Option<SpoolIssue>) {
        self.notice = issue;
    }

    /// Whether files of a newer version are beside ours: of less weight than damage.
    pub fn noticed_newer(&mut self, any: bool) {
        if self.notice.is_none_or(|notice| notice == SpoolIssue::Newer) {
            self.notice = any.then_some(SpoolIssue::Newer);
        }
    }

    pub fn measured(&mut self, Fill { bytes, file_bytes, .. }: Fill) {
        (self.bytes, self.file_bytes) = (bytes, file_bytes);
        self.growth.sample(clock::now(), bytes);
    }

    /// A full spool is tried again after a while.
    pub fn retry_when_full(&mut self, now: Instant) {
        if let LinkState::Full(until) = self.state
            && until <= now
        {
            self.state = LinkState::Ready;
        }
    }

    /// Whether events can be written.
    pub fn takes_events(&self) -> bool {
        self.state == LinkState::Ready
    }

    pub fn is_usable(&self) -> bool {
        matches!(self.state, LinkState::Ready | LinkState::Full(_))
    }

    /// Whether the events that have gathered are to be written.
    pub fn has_gathered(&self, now: Instant) -> bool {
        self.gather_until.is_some_and(|until| until <= now)
    }

    /// Whether events wait for others to share the write.
    pub fn is_gathering(&self, now: Instant) -> bool {
        self.gather_until.is_some_and(|until| until > now)
    }

    /// Whether a few events may go to disk again.
    pub fn may_spill(&self, now: Instant) -> bool {
        self.spilled_at.is_none_or(|at| now >= at + SPILL_EVERY)
    }

    pub fn begin_spill(&mut self, now: Instant) {
        self.spilled_at = Some(now);
    }

    /// All that had gathered is being written.
    pub fn begin_gathering(&mut self) {
        self.gather_until = None;
        self.stores_all = false;
    }

    /// Whether a write is due though there is no event to write.
    pub fn must_write(&self, ledger: &Ledger, now: Instant) -> bool {
        let is_old = self.written.1.is_none_or(|since| now >= since + LEDGER_EVERY);
        self.is_usable() && (self.journal.is_due(now) || (self.written.0 != *ledger && is_old))
    }

    /// Whether the counts are to be noted beside the file.
    pub fn must_note(&self, ledger: &Ledger, now: Instant) -> bool {
        let is_due = self.noted.1.is_none_or(|since| now >= since + NOTE_EVERY);
        self.is_usable() && self.noted.0 != *ledger && is_due
    }

    pub fn may_read(&self, now: Instant) -> bool {
        self.is_usable() && self.nothing_until.is_none_or(|until| until <= now)
    }

    pub fn note(&mut self, ledger: Ledger, now: Instant) {
        self.noted = (ledger, Some(now));
    }

    /// The counts as they would be if the process ended now: what the disk was not yet told of is still there.
    pub fn on_disk(&self, totals: Totals) -> Totals {
        self.journal.before(totals)
    }

    /// How long nothing may be due unless somebody tells.
    pub fn sleep(&mut self, ledger: &Ledger, now: Instant, spills: bool) -> Duration {
        let (sleep, longest) = match self.state {
            _ if self.is_usable() && self.noted.0 != *ledger => (Sleep::Noting, NOTE_EVERY),
            LinkState::Full(_) => (Sleep::Light, FULL_FOR),
            LinkState::Ready if spills => (Sleep::Light, SPILL_EVERY),
            _ if !self.journal.is_empty() => (Sleep::Light, SETTLE_EVERY),
            _ => (Sleep::Deep, LEDGER_EVERY),
        };
        self.sleep = sleep;
        let gather = self.gather_until.filter(|_| self.takes_events());
        gather.map_or(longest, |until| longest.min(until.saturating_duration_since(now)))
    }

    /// Something was read back, up to `last`.
    pub fn read(&mut self, last: u64, is_all: bool, first_seq: u64) {
        if last >= first_seq {
            // What was released while the disk was read is not behind what was read.
            let since = self.journal.released().filter(|seq| *seq >= first_seq);
            self.released_from = since.chain((!is_all).then_some(last + 1)).min();
        }
    }

    /// Nothing was read back: the next event is too old, or a record cannot be read. The next write removes it.
    pub fn read_nothing(&mut self) {
        self.journal.touch();
        self.nothing_until = Some(clock::now() + 2 * SETTLE_EVERY);
    }

    /// What is to be written now, with these events.
    pub fn take_changes(&mut self, put: Vec<Stored>, ledger: Ledger, now: Instant) -> Changes {
        self.written = (ledger, Some(now));
        self.journal.take(put, ledger.totals())
    }

    /// Whether events that are in memory only will be on disk in a moment.
    pub fn will_write(&self) -> bool {
        matches!(self.state, LinkState::Ready | LinkState::Opening)
    }

    /// Nobody waits any more for these events to be on disk.
    pub fn forget_cancelled(&mut self) {
        self.waiters.retain(|_, waiter| !waiter.is_closed());
    }

    /// Those who wait for these events to be on disk.
    pub fn waiters_of(&mut self, written: &[Stored]) -> Vec<Waiter> {
        if self.waiters.is_empty() {
            return Vec::new();
        }
        written.iter().filter_map(|event| self.waiters.remove(&event.seq)).collect()
    }
}

#[cfg(test)]
impl SpoolLink {
    pub fn is_failing(&self) -> bool {
        self.state == LinkState::Failing
    }

    pub fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// What has gathered is written at the next round.
    pub fn end_gathering(&mut self) {
        self.gather_until = self.gather_until.and(Some(clock::now()));
        self.spilled_at = None;
    }

    pub fn make_note_due(&mut self) {
        self.noted.1 = None;
    }
}

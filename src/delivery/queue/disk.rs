use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use tokio::sync::oneshot;

use super::spool_health::{Growth, SpoolHealth, SpoolIssue, SpoolState};
use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::ledger::{DropReason, Ledger, Totals};

/// Told when an event is on disk, or why it is not.
pub(super) type Waiter = oneshot::Sender<Result<(), DropReason>>;

/// What the queue knows of the spool, and what the spool is yet to be told.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) state: DiskState,
    /// Every event goes to disk before it is sent.
    pub(super) write_ahead: bool,
    /// Delivery stands still, so what is in memory goes to disk.
    pub(super) in_trouble: bool,
    pub(super) sleep: Sleep,
    /// The ledger that was noted last, and when.
    pub(super) noted: (Ledger, Option<Instant>),
    pub(super) journal: Journal,
    pub(super) waiters: HashMap<u64, Waiter>,
    /// The lowest number of an event of this process that may be on disk only.
    pub(super) released_from: Option<u64>,
    /// Reading back gave nothing, though there should be something: it is left alone until then.
    pub(super) nothing_until: Option<Instant>,
    /// The ledger that the disk knows, and since when.
    pub(super) written: (Ledger, Option<Instant>),
    pub(super) issue: Option<SpoolIssue>,
    pub(super) bytes: u64,
    pub(super) capacity_bytes: u64,
    pub(super) file_bytes: u64,
    pub(super) growth: Growth,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DiskState {
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
pub(super) enum Sleep {
    #[default]
    Awake,
    /// It looks again in a moment.
    Light,
    /// Somebody must wake it when anything changes.
    Deep,
}

/// What happened to events on disk since the spool was last told.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) settled: Vec<u64>,
    pub(super) attempted: BTreeMap<u64, u32>,
    pub(super) buried: BTreeMap<u64, DeadLetter>,
    pub(super) discarded: Vec<u64>,
    /// How what is on disk still has ended.
    pub(super) ended: Totals,
    /// On disk still, and no longer in memory.
    pub(super) released: Vec<u64>,
    /// When the first of it happened.
    pub(super) since: Option<Instant>,
}

/// What becomes of an event that was just encoded.
pub(super) enum Place {
    Send,
    StoreFirst,
    Refuse(DropReason),
}

impl Disk {
    /// `None` when there is no spool.
    pub(super) fn health(&self, events: u64, now: Instant) -> Option<SpoolHealth> {
        let state = match self.state {
            DiskState::Off => return None,
            DiskState::Opening => SpoolState::Opening,
            DiskState::Ready => SpoolState::Ready,
            DiskState::Full(_) => SpoolState::Full,
            DiskState::Failing => SpoolState::Failing,
        };
        Some(SpoolHealth {
            state,
            issue: self.issue,
            events,
            bytes: self.bytes,
            capacity_bytes: self.capacity_bytes,
            file_bytes: self.file_bytes,
            full_in: self.growth.full_in(now, self.bytes, self.capacity_bytes),
        })
    }

    pub(super) fn place(&self, number: u64) -> Place {
        let is_awaited = self.is_awaited(number);
        match self.state {
            DiskState::Ready if self.write_ahead || is_awaited => Place::StoreFirst,
            DiskState::Opening if is_awaited => Place::StoreFirst,
            DiskState::Full(_) if is_awaited => Place::Refuse(DropReason::SpoolFull),
            DiskState::Failing | DiskState::Off if is_awaited => Place::Refuse(DropReason::SpoolUnavailable),
            _ => Place::Send,
        }
    }

    /// Whether the spool's thread does not know that there is something to note.
    pub(super) fn sleeps_through(&self, ledger: &Ledger) -> bool {
        self.sleep == Sleep::Deep && self.noted.0 != *ledger
    }

    /// Whether somebody waits for the event to be on disk, and still does.
    pub(super) fn is_awaited(&self, number: u64) -> bool {
        !self.waiters.is_empty() && self.waiters.get(&number).is_some_and(|waiter| !waiter.is_closed())
    }

    /// Tells who waits for it what became of an event.
    pub(super) fn tell(&mut self, number: u64, result: Result<(), DropReason>) {
        if self.waiters.is_empty() {
            return;
        }
        if let Some(waiter) = self.waiters.remove(&number) {
            let _ = waiter.send(result);
        }
    }

    pub(super) fn release(&mut self, number: u64, first_number: u64) {
        self.journal.released.push(number);
        if number >= first_number {
            self.released_from = Some(self.released_from.map_or(number, |from| from.min(number)));
        }
    }

    pub(super) fn bury(&mut self, letter: &DeadLetter) {
        if self.state != DiskState::Off {
            self.journal.touch();
            self.journal.buried.insert(letter.number(), letter.clone());
        }
    }

    /// Tells whether the letter is on disk still.
    pub(super) fn discard(&mut self, letter: u64) -> bool {
        let is_on_disk = self.state != DiskState::Off && self.journal.buried.remove(&letter).is_none();
        if is_on_disk {
            self.journal.touch();
            self.journal.discarded.push(letter);
        }
        is_on_disk
    }
}

impl Journal {
    pub(super) fn settle(&mut self, number: u64) {
        self.touch();
        self.settled.push(number);
    }

    pub(super) fn attempt(&mut self, number: u64, attempts: u32) {
        self.touch();
        self.attempted.insert(number, attempts);
    }

    pub(super) fn touch(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }
}

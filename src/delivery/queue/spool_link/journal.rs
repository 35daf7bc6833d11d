use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::ledger::{Account, Totals};
use crate::delivery::spool::{Changes, Stored};
use crate::rt::clock;

/// What happened to events on disk since the spool was last told.
#[derive(Debug, Default)]
pub struct Journal {
    settled: Vec<u64>,
    attempted: BTreeMap<u64, u32>,
    dead_lettered: BTreeMap<u64, DeadLetter>,
    discarded: Vec<u64>,
    /// How what is on disk still has ended.
    ended: Totals,
    /// On disk still, and no longer in memory.
    released: Vec<u64>,
    /// When the first of it happened.
    since: Option<Instant>,
}

/// What is settled on disk is told in groups: a crash in between costs that many duplicates.
pub const SETTLE_EVERY: Duration = Duration::from_secs(1);

/// So many are told to the disk in one write at the latest.
const SETTLED_AT_ONCE: usize = 1_000;

impl Journal {
    /// An event on disk met this end.
    pub fn settle(&mut self, seq: u64, end: Account) {
        self.touch();
        self.settled.push(seq);
        match end {
            Account::Delivered => self.ended.delivered += 1,
            Account::Dropped(reason) => self.ended.dropped.add(reason, 1),
            // A dead letter is on disk as such, or will be.
            _ => {}
        }
    }

    pub fn attempt(&mut self, seq: u64, attempts: u32) {
        self.touch();
        self.attempted.insert(seq, attempts);
    }

    pub fn dead_letter(&mut self, letter: &DeadLetter) {
        self.touch();
        self.dead_lettered.insert(letter.seq(), letter.clone());
    }

    /// A dead letter goes. Whether it is on disk still.
    pub fn discard(&mut self, letter: u64, end: Option<Account>) -> bool {
        if self.forget_dead_letter(letter) {
            return false;
        }
        self.touch();
        self.discarded.push(letter);
        if let Some(Account::Dropped(reason)) = end {
            self.ended.dropped.add(reason, 1);
        }
        true
    }

    /// The disk need not hear of a dead letter. Whether it has not yet.
    pub fn forget_dead_letter(&mut self, letter: u64) -> bool {
        self.dead_lettered.remove(&letter).is_some()
    }

    pub fn release(&mut self, seqs: impl IntoIterator<Item = u64>) {
        self.released.extend(seqs);
    }

    pub fn released(&self) -> impl Iterator<Item = u64> + '_ {
        self.released.iter().copied()
    }

    pub fn take_released(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.released)
    }

    /// Something must be written, though nothing happened that has a name here.
    pub fn touch(&mut self) {
        self.since.get_or_insert_with(clock::now);
    }

    /// It is to be told at the next opportunity.
    pub fn make_due(&mut self) {
        self.since = clock::now().checked_sub(SETTLE_EVERY);
    }

    pub fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    /// Whether it is to be told at once.
    pub fn is_urgent(&self) -> bool {
        !self.dead_lettered.is_empty() || self.is_long()
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.is_long() || self.since.is_some_and(|since| now >= since + SETTLE_EVERY)
    }

    fn is_long(&self) -> bool {
        self.settled.len() >= SETTLED_AT_ONCE
    }

    /// Events that are on disk, though they have ended.
    pub fn settled(&self) -> u64 {
        self.settled.len() as u64
    }

    /// Of these counts, what a crash would leave: the disk was not told yet of the ends here.
    pub fn before(&self, mut totals: Totals) -> Totals {
        totals.subtract(&self.ended);
        totals
    }

    /// All of it, with events to write, to be told now. Begins anew.
    pub fn take(&mut self, put: Vec<Stored>, totals: Totals) -> Changes {
        // What is released was told before.
        let Self { settled, attempted, dead_lettered, discarded, released, .. } = std::mem::take(self);
        self.released = released;
        Changes {
            put,
            settle: settled,
            attempts: attempted.into_iter().collect(),
            dead_letter: dead_lettered.into_iter().collect(),
            discard: discarded,
            totals,
        }
    }

    /// Takes back what could not be told. What may be on disk all the same is removed first next time.
    pub fn give_back(&mut self, changes: &Changes, is_replayed: impl Fn(u64) -> bool) {
        let Changes { put, settle, attempts, dead_letter, discard, .. } = changes;
        // Before anything is noted: the counts of what is taken back here are not known.
        self.make_due();
        for (seq, letter) in dead_letter {
            // It may have been replayed or discarded meanwhile.
            if !is_replayed(*seq) && !self.discarded.contains(seq) {
                self.dead_lettered.insert(*seq, letter.clone());
            }
        }
        for (seq, attempts) in attempts {
            self.attempted.entry(*seq).or_insert(*attempts);
        }
        self.settled.extend(settle.iter().copied().chain(put.iter().map(|event| event.seq)));
        self.discarded.extend(discard.iter().copied().chain(dead_letter.iter().map(|(seq, _)| *seq)));
    }
}

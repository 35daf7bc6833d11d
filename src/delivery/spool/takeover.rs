//! Takes over what processes that have ended left in their files.

use std::io;
use std::time::{Duration, SystemTime};

use super::changes::{Changes, Stored};
use super::config::Bounds;
use super::directory::{Directory, Opened};
use super::record::OVERHEAD;
use super::store::Store;
use crate::delivery::Overflow;
use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::ledger::{DropReason, Totals};
use crate::delivery::queue::{Queue, State};
use crate::rt::target;

/// Moves events from another file to our own, a chunk at a time. Each chunk is written here before it is removed there, so a
/// crash in between duplicates one chunk at most.
pub struct Takeover {
    own: u32,
    source: Option<Opened>,
    /// The next `seq` for what is taken over: above all that our own file had, below all that this process captures.
    pub next_seq: u64,
    /// A problem with a file is logged once, because it persists.
    has_complained: bool,
}

/// A chunk that is being moved.
struct Taken {
    letters: Vec<DeadLetter>,
    events: Vec<Stored>,
    counts: Totals,
}

/// Events that are too old in the other file expire in our own.
const EVERYTHING: Bounds =
    Bounds { bytes: u64::MAX, age: Duration::MAX, min_free: 0, overflow: Overflow::DropNewest };
const CHUNK_EVENTS: usize = 1_000;
const CHUNK_BYTES: usize = 1 << 20;
/// Less room than this counts as none.
const ROOM: u64 = 128 << 10;

impl Takeover {
    pub fn new(own: u32, next_seq: u64) -> Self {
        Self { own, source: None, next_seq, has_complained: false }
    }

    pub fn is_idle(&self) -> bool {
        self.source.is_none()
    }

    pub fn begin(&mut self, left_behind: Opened) {
        let events = left_behind.store.fill().events;
        tracing::info!(target: target::SPOOL, events, "takes over a spool file that was left behind");
        self.source = Some(left_behind);
    }

    /// Searches for a file with events that no process has, and begins to take it over. Without room for the events it does
    /// not search, because opening a file checks all of it.
    pub fn search(&mut self, directory: &Directory, own: &Store) -> Option<&Opened> {
        if own.has_room(ROOM, directory.free()) {
            match directory.adopt(self.own, EVERYTHING) {
                Ok(Some(opened)) => self.begin(opened),
                Ok(None) => {}
                Err(error) => self.complain(&error),
            }
        }
        self.source.as_ref()
    }

    fn complain(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.has_complained, true) {
            tracing::warn!(
                target: target::SPOOL,
                "a spool file that was left behind cannot be taken over: {error}"
            );
        }
    }

    /// Moves one chunk, if there is something to move and room for it. An error is one of our own file; one of
    /// the other file ends its takeover until the next search.
    pub fn step(&mut self, queue: &Queue, own: &mut Store, directory: &Directory) -> io::Result<()> {
        let Some(mut source) = self.source.take() else { return Ok(()) };
        let free = directory.free();
        let taken = match source.take_chunk() {
            Ok(taken) => taken,
            Err(error) => {
                self.complain(&error);
                return Ok(());
            }
        };
        if !own.has_room(taken.bytes(), free) {
            return Ok(());
        }
        let mut seq = || {
            self.next_seq += 1;
            self.next_seq - 1
        };
        let put: Vec<_> = taken.events.iter().map(|event| Stored { seq: seq(), ..event.clone() }).collect();
        let letters: Vec<_> = taken.letters.iter().map(|letter| letter.with_seq(seq())).collect();
        let mut totals = queue.look(State::totals_on_disk);
        totals.add(&taken.counts);
        let dead_letter = letters.iter().map(|letter| (letter.seq(), letter.clone())).collect();
        let changes = Changes { put, dead_letter, totals, ..Changes::default() };
        let applied = own.apply(&changes, SystemTime::now(), free)?;
        own.release(&changes.put.iter().map(|event| event.seq).collect::<Vec<_>>());
        drop(queue.step(|state| state.take_over(&taken.counts, &applied, letters)));
        match source.remove_chunk(&taken) {
            Ok(()) if taken.is_last() => tracing::info!(target: target::SPOOL, "took over all of it"),
            Ok(()) => self.source = Some(source),
            Err(error) => self.complain(&error),
        }
        Ok(())
    }
}

impl Opened {
    /// Takes all dead letters first, then events, and the other process's counts last.
    fn take_chunk(&mut self) -> io::Result<Taken> {
        let letters: Vec<_> =
            std::mem::take(&mut self.contents.dead).into_iter().map(|(_, letter)| letter).collect();
        let events = self.store.load(CHUNK_EVENTS, CHUNK_BYTES)?;
        let open = (letters.len() + events.len()) as u64;
        let counts = match open {
            0 => self.contents.totals,
            _ => Totals { captured: open, ..Totals::default() },
        };
        Ok(Taken { letters, events, counts })
    }

    fn remove_chunk(&mut self, taken: &Taken) -> io::Result<()> {
        self.contents.totals.subtract(&taken.counts);
        let changes = Changes {
            settle: taken.events.iter().map(|event| event.seq).collect(),
            discard: taken.letters.iter().map(DeadLetter::seq).collect(),
            totals: self.contents.totals,
            ..Changes::default()
        };
        let applied = self.store.apply(&changes, SystemTime::now(), None)?;
        self.contents.totals.dropped.add(DropReason::Crash, applied.damaged);
        if taken.is_last() {
            self.store.compact_if_worth_it()?;
        }
        Ok(())
    }
}

impl Taken {
    /// On disk.
    fn bytes(&self) -> u64 {
        self.events.iter().map(|event| (event.json.len() + OVERHEAD) as u64).sum()
    }

    fn is_last(&self) -> bool {
        self.letters.is_empty() && self.events.is_empty()
    }
}

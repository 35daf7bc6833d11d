//! Takes over what processes that have ended left in their files.

use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::changes::{Changes, Stored};
use super::clock::{Clock, jump};
use super::config::Bounds;
use super::directory::{Directory, Opened};
use super::record::OVERHEAD;
use super::store::Store;
use crate::delivery::Overflow;
use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::ledger::{DropReason, Totals};
use crate::delivery::queue::{Queue, State};
use crate::rt::thread::spawn;
use crate::rt::{self, target};

/// Moves events from another file to our own, a chunk at a time. Each chunk is written here before it is removed there, so a
/// crash in between duplicates one chunk at most.
///
/// The other file is opened, checked, salvaged, read and changed by short-lived threads: it may be large, or on a disk that
/// hangs, and our own writes must not wait for it.
pub struct Takeover {
    own: u32,
    job: Option<mpsc::Receiver<Answer>>,
    found: Option<Found>,
    /// The next `seq` for what is taken over: above all that our own file had, below all that this process captures.
    pub next_seq: u64,
    /// A problem with a file is logged once, because it persists.
    has_complained: bool,
}

/// A file, and what of it is to be moved next.
struct Found {
    source: Opened,
    taken: Taken,
}

type Answer = io::Result<Option<Found>>;

/// A chunk that is being moved.
struct Taken {
    letters: Vec<DeadLetter>,
    events: Vec<Stored>,
    counts: Totals,
    /// When its file was last written to by the process that left it.
    written_at: u64,
    /// It is the first of its file.
    is_first: bool,
}

/// Events that are too old in the other file expire in our own.
const EVERYTHING: Bounds =
    Bounds { bytes: u64::MAX, age: Duration::MAX, min_free: 0, overflow: Overflow::DropNewest };
const CHUNK_EVENTS: usize = 1_000;
const CHUNK_BYTES: usize = 1 << 20;
/// Less room than this counts as none.
const ROOM: u64 = 128 << 10;
/// How long a shutdown waits for the other file to be closed. The next process repairs one that is not.
const LAST_JOB: Duration = Duration::from_millis(200);

impl Takeover {
    pub fn new(own: u32, next_seq: u64) -> Self {
        Self { own, job: None, found: None, next_seq, has_complained: false }
    }

    /// Whether there is something to move.
    pub fn has_found(&self) -> bool {
        self.found.is_some()
    }

    pub fn begin(&mut self, queue: &Arc<Queue>, mut left_behind: Opened) {
        // It was opened as our own, with bounds by which it would drop events that nobody counts.
        left_behind.store.bounds = EVERYTHING;
        self.ask(queue, move || Found::first(left_behind).map(Some));
    }

    /// Begins to search for a file with events that no process has. Without room for the events it does not search, because
    /// opening a file checks all of it.
    pub fn search(&mut self, queue: &Arc<Queue>, directory: &Arc<Directory>, own: &Store) {
        if self.job.is_some() || self.found.is_some() || !own.has_room(ROOM, None) {
            return;
        }
        let (directory, slot, min_free) = (Arc::clone(directory), self.own, own.bounds.min_free);
        self.ask(queue, move || {
            if directory.free().is_some_and(|free| free < min_free) {
                return Ok(None);
            }
            directory.adopt(slot, EVERYTHING)?.map(Found::first).transpose()
        });
    }

    /// Whether a job has ended, and the file that it found, if that is a new one.
    pub fn poll(&mut self) -> Option<Option<&Opened>> {
        let answer = match self.job.as_ref()?.try_recv() {
            Err(mpsc::TryRecvError::Empty) => return None,
            Err(mpsc::TryRecvError::Disconnected) => Ok(None),
            Ok(answer) => answer,
        };
        self.job = None;
        self.found = answer.unwrap_or_else(|error| {
            self.complain(&error);
            None
        });
        let new = self.found.as_ref().filter(|found| found.taken.is_first).map(|found| &found.source);
        if let Some(new) = new {
            let events = new.store.fill().events;
            tracing::info!(target: target::SPOOL, events, "takes over a spool file that was left behind");
        }
        Some(new)
    }

    /// Waits a moment for the other file to be closed.
    pub fn end(&mut self, queue: &Queue) {
        if let Some(job) = self.job.take()
            && matches!(job.try_recv(), Err(mpsc::TryRecvError::Empty))
        {
            queue.wait_for_call(LAST_JOB);
        }
    }

    fn complain(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.has_complained, true) {
            tracing::warn!(
                target: target::SPOOL,
                "a spool file that was left behind cannot be taken over: {error}"
            );
        }
    }

    /// Starts a job. If no thread can be started, the next search tries again.
    fn ask(&mut self, queue: &Arc<Queue>, work: impl FnOnce() -> Answer + Send + 'static) {
        let (sender, answer) = mpsc::sync_channel(1);
        let queue = Arc::clone(queue);
        let job = spawn("posthog-health-takeover", move || {
            let _ = sender.send(work());
            queue.call_spool();
        });
        self.job = job.ok().map(|_| answer);
    }

    /// Moves one chunk, if there is something to move and room for it. An error is one of our own file; one of
    /// the other file ends its takeover until the next search.
    pub fn step(
        &mut self,
        queue: &Arc<Queue>,
        own: &mut Store,
        directory: &Directory,
        clock: &Clock,
    ) -> io::Result<()> {
        let Some(Found { mut source, taken }) = self.found.take() else { return Ok(()) };
        let free = directory.free();
        if !own.has_room(taken.bytes(), free) {
            // Closing it may take time too.
            self.ask(queue, move || {
                drop(source);
                Ok(None)
            });
            return Ok(());
        }
        let mut seq = || {
            self.next_seq += 1;
            self.next_seq - 1
        };
        let now = clock.now(rt::clock::wall(), rt::clock::now());
        // What that process wrote before its clock was set is not as old as it seems.
        let jump = jump(taken.written_at, now);
        let moved = |event: &Stored, seq| Stored { seq, at: event.at.saturating_add(jump), ..event.clone() };
        let put: Vec<_> = taken.events.iter().map(|event| moved(event, seq())).collect();
        let letters: Vec<_> = taken.letters.iter().map(|letter| letter.with_seq(seq())).collect();
        let mut totals = queue.look(State::totals_on_disk);
        totals.add(&taken.counts);
        let dead_letter = letters.iter().map(|letter| (letter.seq(), letter.clone())).collect();
        let changes = Changes { put, dead_letter, totals, ..Changes::default() };
        let applied = own.apply(&changes, now, free)?;
        own.release(&changes.put.iter().map(|event| event.seq).collect::<Vec<_>>());
        drop(queue.step(|state| state.take_over(&taken.counts, &applied, letters)));
        if taken.is_last() {
            tracing::info!(target: target::SPOOL, "took over all of it");
        }
        self.ask(queue, move || {
            source.remove_chunk(&taken)?;
            if taken.is_last() { Ok(None) } else { Found::next(source).map(Some) }
        });
        Ok(())
    }
}

impl Found {
    fn first(source: Opened) -> io::Result<Self> {
        let mut found = Self::next(source)?;
        found.taken.is_first = true;
        Ok(found)
    }

    fn next(mut source: Opened) -> io::Result<Self> {
        let taken = source.take_chunk()?;
        Ok(Self { source, taken })
    }
}

impl Opened {
    /// Takes all dead letters first, then events, and the other process's counts last.
    fn take_chunk(&mut self) -> io::Result<Taken> {
        let letters: Vec<_> =
            std::mem::take(&mut self.contents.dead).into_iter().map(|(_, letter)| letter).collect();
        let events = self.store.load(CHUNK_EVENTS, CHUNK_BYTES, rt::clock::wall())?;
        let open = (letters.len() + events.len()) as u64;
        let counts = match open {
            0 => self.contents.totals,
            _ => Totals { captured: open, ..Totals::default() },
        };
        Ok(Taken { letters, events, counts, written_at: self.written_at, is_first: false })
    }

    fn remove_chunk(&mut self, taken: &Taken) -> io::Result<()> {
        self.contents.totals.subtract(&taken.counts);
        let changes = Changes {
            settle: taken.events.iter().map(|event| event.seq).collect(),
            discard: taken.letters.iter().map(DeadLetter::seq).collect(),
            totals: self.contents.totals,
            ..Changes::default()
        };
        let applied = self.store.apply(&changes, rt::clock::wall(), None)?;
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

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use redb::{Database, Error, ReadableDatabase, ReadableTableMetadata, StorageBackend};

use super::backend::Measured;
use super::changes::{Applied, Changes, Contents, Damaged, Fill, Held, StoreError, Stored};
use super::config::Bounds;
use super::disk::Claim;
use super::guard::guarded;
use super::open::read_in;
use super::record::{Kind, Record};
use super::state::State;
use super::tables::{ATTEMPTS, EVENTS};
use super::transaction::{Done, commit};
use crate::delivery::ledger::Totals;

/// Events on disk, each under its `seq`.
///
/// An event is *held* when it lies on disk and is in the caller's memory too: what was just put, and what
/// [`load`](Self::load) returned, until it is [released](Self::release). Held events are neither loaded nor evicted.
/// After an error, call [`into_held`](Self::into_held) and open the file again, because redb does nothing more.
pub struct Store {
    db: Closing,
    file_bytes: Arc<AtomicU64>,
    pub bounds: Bounds,
    pub state: State,
    pub held: Held,
    /// Put by a transaction that failed: on disk or not.
    doubtful: Vec<u64>,
    /// Events and dead letters that cannot be read. The next transaction removes them.
    pub damaged: Damaged,
    /// All events before this one are held or damaged.
    pub front: u64,
    /// Whether the last [`load`](Self::load) left nothing.
    pub is_read_to_the_end: bool,
    /// The length that the file had after the last compaction.
    compacted: u64,
    /// Other processes keep off the file as long as this lives.
    pub claim: Option<Arc<dyn Claim>>,
}

impl Store {
    /// Opens a file. An empty file becomes a new store.
    pub fn open(
        backend: Box<dyn StorageBackend>,
        bounds: Bounds,
        held: Held,
    ) -> Result<(Self, Contents), StoreError> {
        let (backend, file_bytes) = Measured::new(backend);
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
        let db = Closing(Some(guarded(|| Ok(builder.create_with_backend(backend)?))?));
        let found = guarded(|| read_in(db.get()?, held))?.ok_or(StoreError::Newer)?;
        let store = Self {
            db,
            file_bytes,
            bounds,
            state: found.state,
            held: found.held,
            doubtful: Vec::new(),
            damaged: Damaged { events: BTreeSet::new(), dead: found.damaged },
            front: 0,
            is_read_to_the_end: false,
            compacted: 0,
            claim: None,
        };
        Ok((store, found.contents))
    }

    /// Returns these totals with the counts of the last transaction, as bytes to note.
    pub fn note(&self, totals: Totals) -> Vec<u8> {
        State { totals, ..self.state }.to_bytes(0)
    }

    /// Applies the totals of a [note](Self::note) that was made after the last transaction.
    pub fn recount(&self, note: State, contents: &mut Contents) {
        if note.sequence == self.state.sequence {
            contents.count(State { totals: note.totals, ..self.state });
        }
    }

    /// Runs one transaction, which survives a loss of power when this returns. `free` is how much of the disk is free.
    pub fn apply(&mut self, changes: &Changes, now: SystemTime, free: Option<u64>) -> io::Result<Applied> {
        let scarce = free.is_some_and(|free| free < self.bounds.min_free);
        let capacity = if scarce { self.bounds.bytes.min(self.state.bytes) } else { self.bounds.bytes };
        let done = guarded(|| commit(self, changes, capacity, now));
        let Done { applied, state, front } =
            done.inspect_err(|_| self.doubtful.extend(changes.put.iter().map(|event| event.seq)))?;
        for seq in &changes.settle {
            self.held.remove(seq);
        }
        self.held.extend(changes.put.iter().take(applied.written).map(|event| event.seq));
        for (seq, _) in &changes.dead_letter {
            self.held.remove(seq);
        }
        self.doubtful.clear();
        self.damaged = Damaged::default();
        (self.front, self.state) = (front, state);
        Ok(applied)
    }

    /// Returns the oldest events that are not held, and holds them. A chunk is within both limits, or a single event. It ends
    /// before an event that is too old, which waits for the next transaction to drop and count it.
    pub fn load(&mut self, events: usize, bytes: usize, now: SystemTime) -> io::Result<Vec<Stored>> {
        let mut front = self.front;
        let mut is_all = true;
        let mut damaged = Vec::new();
        let chunk = guarded(|| {
            let transaction = self.db()?.begin_read()?;
            let attempts = transaction.open_table(ATTEMPTS)?;
            let tried = !attempts.is_empty()?;
            let mut chunk: Vec<Stored> = Vec::new();
            let mut size = 0;
            for entry in transaction.open_table(EVENTS)?.range(front..)? {
                let (seq, value) = entry?;
                let seq = seq.value();
                front = seq;
                if self.held.contains(&seq) || self.damaged.events.contains(&seq) {
                    continue;
                }
                let Some(record) = Record::expect(value.value(), Kind::Event, seq) else {
                    damaged.push(seq);
                    continue;
                };
                size += record.json.len();
                let is_full = !chunk.is_empty() && (chunk.len() >= events || size > bytes);
                if is_full || self.bounds.is_too_old(record.at, now) {
                    is_all = false;
                    break;
                }
                let row = if tried { attempts.get(seq)?.map(|row| row.value()) } else { None };
                let attempts = record.attempts.max(row.unwrap_or(0));
                let json = Bytes::copy_from_slice(record.json);
                chunk.push(Stored { seq, at: record.at, attempts, json });
            }
            Ok(chunk)
        })?;
        self.front = front;
        self.is_read_to_the_end = is_all;
        self.held.extend(chunk.iter().map(|event| event.seq));
        self.damaged.events.extend(damaged);
        Ok(chunk)
    }

    /// Releases events that are no longer in memory.
    pub fn release(&mut self, seqs: &[u64]) {
        for seq in seqs {
            if self.held.remove(seq) {
                self.front = self.front.min(*seq);
            }
        }
    }

    /// Whether this many more bytes are within the bounds, given how much of the disk is free.
    pub fn has_room(&self, bytes: u64, free: Option<u64>) -> bool {
        let Bounds { min_free, bytes: bound, .. } = self.bounds;
        self.state.bytes + bytes <= bound && free.is_none_or(|free| free >= min_free)
    }

    pub fn fill(&self) -> Fill {
        let State { events, bytes, .. } = self.state;
        Fill { events, bytes, file_bytes: self.file_bytes.load(Ordering::Relaxed) }
    }

    /// Shrinks a file of which less than a quarter is in use, unless the file is small or holds too much to move at once.
    /// Returns whether the file shrank.
    pub fn compact_if_worth_it(&mut self) -> io::Result<bool> {
        let used = self.state.bytes + self.state.dead_bytes;
        let is_small = self.fill().file_bytes <= SMALL_FILE.max(used * 4).max(self.compacted * 2);
        if is_small || used > SOON_MOVED {
            return Ok(false);
        }
        let db = self.db.0.as_mut();
        let done = guarded(|| Ok(db.ok_or(Error::DatabaseClosed)?.compact()?))?;
        self.compacted = self.fill().file_bytes;
        Ok(done)
    }

    /// Closes the store. Returns what memory holds, to open it again.
    pub fn into_held(mut self) -> Held {
        self.held.extend(self.doubtful);
        self.held
    }

    pub fn db(&self) -> Result<&Database, Error> {
        self.db.get()
    }
}

/// A database whose closing cannot panic. It is `None` only on its way out.
struct Closing(Option<Database>);

impl Closing {
    fn get(&self) -> Result<&Database, Error> {
        self.0.as_ref().ok_or(Error::DatabaseClosed)
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let db = self.0.take();
        // The next open repairs what fails here.
        let _ = guarded(|| {
            drop(db);
            Ok(())
        });
    }
}

/// The size of redb's cache. Events on disk must not take memory.
const CACHE: usize = 4 << 20;
const SMALL_FILE: u64 = 1 << 20;
/// Moving more bytes would delay callers that wait for a write.
const SOON_MOVED: u64 = 16 << 20;

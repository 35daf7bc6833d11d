use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use redb::{Database, Error, ReadableDatabase, ReadableTableMetadata, StorageBackend};

use super::backend::Measured;
use super::changes::Damaged;
pub use super::changes::{Applied, Changes, Contents, Fill, Held, OpenError, Stored};
use super::config::Bounds;
use super::guard::guarded;
use super::open::{Found, look};
use super::record::{Kind, Record, millis};
use super::state::State;
use super::tables::{ATTEMPTS, EVENTS};
use super::transaction::{Done, Work};
use crate::delivery::ledger::Totals;

/// Events on disk, each under its number.
///
/// An event is *held* when it lies on disk and is in the caller's memory too: what was just put, and what
/// [`load`](Self::load) gave out, until it is [released](Self::release). Held events are neither given out
/// nor evicted. After an error, [`into_held`](Self::into_held) and open again: redb does nothing more.
pub struct Store {
    /// `None` only on its way out.
    db: Option<Database>,
    file_bytes: Arc<AtomicU64>,
    bounds: Bounds,
    state: State,
    held: Held,
    /// Put by a transaction that failed: on disk or not.
    doubtful: Vec<u64>,
    /// Of events and dead letters that cannot be read. The next transaction removes them.
    damaged: Damaged,
    /// All events before this one are held or damaged.
    front: u64,
    /// The last load left nothing.
    is_read_to_the_end: bool,
    /// The length that the file had after the last compaction.
    compacted: u64,
    /// Others keep off the file as long as this lives.
    _claim: Option<Arc<File>>,
}

impl Store {
    /// Opens what is there, or begins a new one in an empty file.
    pub fn open(
        backend: Box<dyn StorageBackend>,
        bounds: Bounds,
        held: Held,
    ) -> Result<(Self, Contents), OpenError> {
        let (backend, file_bytes) = Measured::new(backend);
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
        let mut store = Self {
            db: Some(guarded(|| Ok(builder.create_with_backend(backend)?))?),
            file_bytes,
            bounds,
            state: State::default(),
            held: Held::default(),
            doubtful: Vec::new(),
            damaged: Damaged::default(),
            front: 0,
            is_read_to_the_end: false,
            compacted: 0,
            _claim: None,
        };
        let look = match guarded(|| look(store.db()?, held))? {
            Found::Newer => return Err(OpenError::Newer),
            Found::Ours(look) => look,
        };
        store.state = look.state;
        store.held = look.held;
        store.damaged.dead = look.damaged;
        Ok((store, look.contents))
    }

    /// The counts as they are now, with nothing written since the last transaction.
    pub fn note(&self, totals: Totals) -> Vec<u8> {
        State { totals, ..self.state }.to_bytes(0)
    }

    /// Takes the counts of a [note](Self::note) where it was made after the last transaction.
    pub fn recount(&self, note: State, contents: &mut Contents) {
        if note.sequence == self.state.sequence {
            contents.count(State { totals: note.totals, ..self.state });
        }
    }

    /// Keeps the file claimed until the store is dropped.
    pub fn claimed(mut self, claim: Arc<File>) -> Self {
        self._claim = Some(claim);
        self
    }

    /// One transaction: when it returns, it survives a loss of power. `free` is how much of the disk is.
    pub fn apply(&mut self, changes: &Changes, now: SystemTime, free: Option<u64>) -> io::Result<Applied> {
        let letters: Vec<Vec<u8>> = changes
            .dead_letter
            .iter()
            .map(|(_, letter)| serde_json::to_vec(letter))
            .collect::<Result<_, _>>()?;
        let scarce = free.is_some_and(|free| free < self.bounds.min_free);
        let work = Work {
            changes,
            letters: &letters,
            damaged: &self.damaged,
            held: &self.held,
            overflow: self.bounds.overflow,
            capacity: if scarce { self.bounds.bytes.min(self.state.bytes) } else { self.bounds.bytes },
            expired: now.checked_sub(self.bounds.age).map_or(0, millis),
            front: self.front,
            state: self.state,
            now: millis(now),
        };
        match guarded(|| work.commit(self.db()?)) {
            Ok(done) => Ok(self.remember(changes, done)),
            Err(failure) => {
                self.doubtful.extend(changes.put.iter().map(|event| event.seq));
                Err(failure.into())
            }
        }
    }

    /// The oldest events that are not held; now they are. A chunk is within both limits, or one event.
    pub fn load(&mut self, events: usize, bytes: usize) -> io::Result<Vec<Stored>> {
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
                if self.held.0.contains(&seq) || self.damaged.events.contains(&seq) {
                    continue;
                }
                let Some(record) = Record::expect(value.value(), Kind::Event, seq) else {
                    damaged.push(seq);
                    continue;
                };
                size += record.json.len();
                if !chunk.is_empty() && (chunk.len() >= events || size > bytes) {
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
        self.held.0.extend(chunk.iter().map(|event| event.seq));
        self.damaged.events.extend(damaged);
        Ok(chunk)
    }

    /// These are in memory no more.
    pub fn release(&mut self, seqs: &[u64]) {
        for seq in seqs {
            if self.held.0.remove(seq) {
                self.front = self.front.min(*seq);
            }
        }
    }

    /// Whether so many bytes more are within the bounds, with so much of the disk free.
    pub fn has_room(&self, bytes: u64, free: Option<u64>) -> bool {
        let Bounds { min_free, bytes: bound, .. } = self.bounds;
        self.state.bytes + bytes <= bound && free.is_none_or(|free| free >= min_free)
    }

    /// Whether the last [`load`](Self::load) gave all that there was.
    pub fn is_read_to_the_end(&self) -> bool {
        self.is_read_to_the_end
    }

    /// Whether this event is on disk and in memory.
    pub fn holds(&self, seq: u64) -> bool {
        self.held.0.contains(&seq)
    }

    pub fn fill(&self) -> Fill {
        let State { events, bytes, .. } = self.state;
        Fill { events, bytes, file_bytes: self.file_bytes.load(Ordering::Relaxed) }
    }

    /// Gives back disk when less than a quarter of a file of some size is in use, and that is soon moved.
    /// Whether it did.
    pub fn compact_if_worth_it(&mut self) -> io::Result<bool> {
        let used = self.state.bytes + self.state.dead_bytes;
        let is_small = self.fill().file_bytes <= SMALL_FILE.max(used * 4).max(self.compacted * 2);
        if is_small || used > SOON_MOVED {
            return Ok(false);
        }
        let db = self.db.as_mut();
        let done = guarded(|| Ok(db.ok_or(Error::DatabaseClosed)?.compact()?))?;
        self.compacted = self.fill().file_bytes;
        Ok(done)
    }

    /// Closes it, and says what memory holds, to open it again.
    pub fn into_held(mut self) -> Held {
        let mut held = std::mem::take(&mut self.held);
        held.0.append(&mut std::mem::take(&mut self.doubtful).into_iter().collect());
        held
    }

    fn remember(&mut self, changes: &Changes, done: Done) -> Applied {
        for seq in &changes.settle {
            self.held.0.remove(seq);
        }
        let written = changes.put.iter().take(done.applied.written);
        self.held.0.extend(written.map(|event| event.seq));
        for (seq, _) in &changes.dead_letter {
            self.held.0.remove(seq);
        }
        self.doubtful.clear();
        self.damaged = Damaged::default();
        self.front = done.front;
        self.state = done.state;
        done.applied
    }

    fn db(&self) -> Result<&Database, Error> {
        self.db.as_ref().ok_or(Error::DatabaseClosed)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let db = self.db.take();
        // What fails here, the next open repairs.
        let _ = guarded(|| {
            drop(db);
            Ok(())
        });
    }
}

/// Of redb's. Events on disk must not take memory.
const CACHE: usize = 4 << 20;
const SMALL_FILE: u64 = 1 << 20;
/// To move more would keep those who wait for a write waiting for long.
const SOON_MOVED: u64 = 16 << 20;

use std::time::SystemTime;

use redb::{AccessGuard, Error, ReadableTable, ReadableTableMetadata, Table};

use super::changes::{Applied, Changes, Stored};
use super::record::{Kind, Record, at, millis};
use super::state::State;
use super::store::Store;
use super::tables::{ATTEMPTS, DEAD, EVENTS, META, STATE_KEY};
use crate::delivery::Overflow;
use crate::delivery::ledger::DropReason;

/// What the next transaction begins with.
pub struct Done {
    pub applied: Applied,
    pub state: State,
    pub front: u64,
}

/// Writes all changes or none. `capacity` is the most bytes of events.
pub fn commit(store: &Store, changes: &Changes, capacity: u64, now: SystemTime) -> Result<Done, Error> {
    let transaction = store.db()?.begin_write()?;
    let mut open = Open {
        events: transaction.open_table(EVENTS)?,
        dead: transaction.open_table(DEAD)?,
        attempts: transaction.open_table(ATTEMPTS)?,
        applied: Applied::default(),
        state: State {
            sequence: store.state.sequence + 1,
            at: millis(now),
            totals: changes.totals,
            ..store.state
        },
        front: store.front,
        capacity,
        changes,
        store,
    };
    open.end()?;
    open.expire(now)?;
    open.put()?;
    open.count_attempts()?;
    open.dead_letter(millis(now))?;

    // No event on disk is before this one.
    let floor = open.events.first()?.map_or(u64::MAX, |(seq, _)| seq.value());
    let done = open.done();
    transaction.open_table(META)?.insert(STATE_KEY, done.state.to_bytes(floor).as_slice())?;
    transaction.commit()?;
    Ok(done)
}

/// A transaction under way.
struct Open<'t> {
    events: Table<'t, u64, &'static [u8]>,
    dead: Table<'t, u64, &'static [u8]>,
    attempts: Table<'t, u64, u32>,
    applied: Applied,
    state: State,
    /// All events before this one are held or damaged.
    front: u64,
    capacity: u64,
    changes: &'t Changes,
    /// As of the last commit.
    store: &'t Store,
}

impl Open<'_> {
    fn end(&mut self) -> Result<(), Error> {
        for seq in &self.changes.settle {
            self.remove(*seq)?;
        }
        for seq in &self.store.damaged.events {
            self.applied.damaged += u64::from(self.remove(*seq)?);
        }
        for seq in self.changes.discard.iter().chain(&self.store.damaged.dead) {
            self.remove_dead(*seq)?;
        }
        Ok(())
    }

    /// Evicts events that are too old, up to the first that is not.
    fn expire(&mut self, now: SystemTime) -> Result<(), Error> {
        while self.applied.expired < EXPIRE_AT_MOST {
            let Some((seq, at)) = self.oldest()? else { break };
            if !self.store.bounds.is_too_old(at, now) {
                break;
            }
            self.remove(seq)?;
            self.applied.expired += 1;
        }
        Ok(())
    }

    fn put(&mut self) -> Result<(), Error> {
        for event in &self.changes.put {
            let Stored { seq, at, attempts, ref json } = *event;
            let sequence = self.state.sequence;
            let record = Record { kind: Kind::Event, seq, sequence, at, attempts, json }.to_bytes();
            let replaced = self.events.get(event.seq)?.map_or(0, |old| old.value().len());
            let added = record.len() as u64;
            if !self.make_room(replaced as u64, added)? {
                break;
            }
            self.remove_dead(event.seq)?;
            let old = self.events.insert(event.seq, record.as_slice())?;
            self.state.events += u64::from(old.is_none());
            self.state.bytes = self.state.bytes.saturating_sub(replaced as u64) + added;
            self.applied.written += 1;
        }
        Ok(())
    }

    fn count_attempts(&mut self) -> Result<(), Error> {
        for (seq, attempts) in &self.changes.attempts {
            if self.events.get(seq)?.is_some() {
                self.attempts.insert(seq, attempts)?;
            }
        }
        Ok(())
    }

    fn dead_letter(&mut self, at: u64) -> Result<(), Error> {
        for (seq, letter) in &self.changes.dead_letter {
            let json = &serde_json::to_vec(letter).map_err(|error| Error::Io(error.into()))?;
            self.remove(*seq)?;
            self.remove_dead(*seq)?;
            let (kind, sequence) = (Kind::DeadLetter, self.state.sequence);
            let record = Record { kind, seq: *seq, sequence, at, attempts: 0, json }.to_bytes();
            self.dead.insert(seq, record.as_slice())?;
            self.state.dead_bytes += record.len() as u64;
        }
        Ok(())
    }

    fn done(self) -> Done {
        let Self { applied, mut state, front, .. } = self;
        let dropped = &mut state.totals.dropped;
        dropped.add(DropReason::SpoolFull, applied.full);
        dropped.add(DropReason::SpoolExpired, applied.expired);
        dropped.add(DropReason::Crash, applied.damaged);
        Done { applied, state, front }
    }

    /// Evicts events if that is the policy, until `added` bytes fit in the place of `replaced`. Returns whether they do.
    fn make_room(&mut self, replaced: u64, added: u64) -> Result<bool, Error> {
        while self.state.bytes.saturating_sub(replaced) + added > self.capacity {
            if self.store.bounds.overflow == Overflow::DropNewest || added > self.capacity {
                return Ok(false);
            }
            let Some((seq, _)) = self.oldest()? else { return Ok(false) };
            self.remove(seq)?;
            self.applied.full += 1;
        }
        Ok(true)
    }

    /// Returns the oldest event that may be evicted, and when it was captured.
    fn oldest(&mut self) -> Result<Option<(u64, u64)>, Error> {
        for entry in self.events.range(self.front..)? {
            let (seq, record) = entry?;
            self.front = seq.value();
            if !self.keeps(self.front) {
                // An event whose time cannot be read counts as the oldest.
                return Ok(Some((self.front, at(record.value()).unwrap_or(0))));
            }
        }
        Ok(None)
    }

    fn remove(&mut self, seq: u64) -> Result<bool, Error> {
        let Some(bytes) = self.events.remove(seq)?.map(size) else { return Ok(false) };
        self.state.events = self.state.events.saturating_sub(1);
        self.state.bytes = self.state.bytes.saturating_sub(bytes);
        if !self.attempts.is_empty()? {
            self.attempts.remove(seq)?;
        }
        Ok(true)
    }

    fn remove_dead(&mut self, seq: u64) -> Result<(), Error> {
        let bytes = self.dead.remove(seq)?.map_or(0, size);
        self.state.dead_bytes = self.state.dead_bytes.saturating_sub(bytes);
        Ok(())
    }

    /// Whether an event is held, or was put just now.
    fn keeps(&self, seq: u64) -> bool {
        let put = || self.changes.put.binary_search_by_key(&seq, |event| event.seq).is_ok();
        self.store.held.contains(&seq) || put()
    }
}

fn size(record: AccessGuard<'_, &'static [u8]>) -> u64 {
    record.value().len() as u64
}

/// Events that one transaction expires at most, so that no transaction takes long.
const EXPIRE_AT_MOST: u64 = 10_000;

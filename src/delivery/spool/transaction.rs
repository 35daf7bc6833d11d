use redb::{AccessGuard, Database, Error, ReadableTable, ReadableTableMetadata, Table};

use super::changes::{Applied, Changes, Damaged, Held, Stored};
use super::record::{Kind, Record, at};
use super::state::State;
use super::tables::{ATTEMPTS, DEAD, EVENTS, META, STATE_KEY};
use crate::delivery::Overflow;
use crate::delivery::ledger::DropReason;

/// A transaction to be.
pub struct Work<'a> {
    pub changes: &'a Changes,
    /// The JSON of `changes.dead_letter`.
    pub letters: &'a [Vec<u8>],
    pub damaged: &'a Damaged,
    pub held: &'a Held,
    pub overflow: Overflow,
    /// The most bytes of events.
    pub capacity: u64,
    /// An event captured before this is too old, in milliseconds since 1970.
    pub expired: u64,
    /// All events before this one are held or damaged.
    pub front: u64,
    /// As of the last commit.
    pub state: State,
    pub now: u64,
}

/// What the next one begins with.
pub struct Done {
    pub applied: Applied,
    pub state: State,
    pub front: u64,
}

impl Work<'_> {
    pub fn commit(self, db: &Database) -> Result<Done, Error> {
        let transaction = db.begin_write()?;
        let mut open = Open {
            events: transaction.open_table(EVENTS)?,
            dead: transaction.open_table(DEAD)?,
            attempts: transaction.open_table(ATTEMPTS)?,
            applied: Applied::default(),
            state: State { sequence: self.state.sequence + 1, totals: self.changes.totals, ..self.state },
            front: self.front,
            work: &self,
        };
        open.end()?;
        open.expire()?;
        open.put()?;
        open.count_attempts()?;
        open.dead_letter()?;

        let floor = open.floor()?;
        let done = open.done();
        transaction.open_table(META)?.insert(STATE_KEY, done.state.to_bytes(floor).as_slice())?;
        transaction.commit()?;
        Ok(done)
    }
}

/// A transaction under way.
struct Open<'t> {
    events: Table<'t, u64, &'static [u8]>,
    dead: Table<'t, u64, &'static [u8]>,
    attempts: Table<'t, u64, u32>,
    applied: Applied,
    state: State,
    front: u64,
    work: &'t Work<'t>,
}

impl Open<'_> {
    fn end(&mut self) -> Result<(), Error> {
        for seq in &self.work.changes.settle {
            self.remove(*seq)?;
        }
        for seq in &self.work.damaged.events {
            self.applied.damaged += u64::from(self.remove(*seq)?);
        }
        for seq in self.work.changes.discard.iter().chain(&self.work.damaged.dead) {
            self.remove_dead(*seq)?;
        }
        Ok(())
    }

    /// Evicts what is too old, from the oldest on to the first that is not.
    fn expire(&mut self) -> Result<(), Error> {
        while self.applied.expired < EXPIRE_AT_MOST {
            let Some((seq, at)) = self.oldest()? else { break };
            if at >= self.work.expired {
                break;
            }
            self.remove(seq)?;
            self.applied.expired += 1;
        }
        Ok(())
    }

    fn put(&mut self) -> Result<(), Error> {
        for event in &self.work.changes.put {
            let record = self.record(event);
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
        for (seq, attempts) in &self.work.changes.attempts {
            if self.events.get(seq)?.is_some() {
                self.attempts.insert(seq, attempts)?;
            }
        }
        Ok(())
    }

    fn dead_letter(&mut self) -> Result<(), Error> {
        for ((seq, _), json) in self.work.changes.dead_letter.iter().zip(self.work.letters) {
            self.remove(*seq)?;
            self.remove_dead(*seq)?;
            let sequence = self.state.sequence;
            let (kind, at) = (Kind::DeadLetter, self.work.now);
            let record = Record { kind, seq: *seq, sequence, at, attempts: 0, json }.to_bytes();
            self.dead.insert(seq, record.as_slice())?;
            self.state.dead_bytes += record.len() as u64;
        }
        Ok(())
    }

    /// No event on disk is before this one.
    fn floor(&self) -> Result<u64, Error> {
        Ok(self.events.first()?.map_or(u64::MAX, |(seq, _)| seq.value()))
    }

    fn done(self) -> Done {
        let Self { applied, mut state, front, .. } = self;
        let dropped = &mut state.totals.dropped;
        dropped.add(DropReason::SpoolFull, applied.full);
        dropped.add(DropReason::SpoolExpired, applied.expired);
        dropped.add(DropReason::Crash, applied.damaged);
        Done { applied, state, front }
    }

    /// Whether there is room for `added` bytes in the place of `replaced`, after evicting if that is the
    /// policy.
    fn make_room(&mut self, replaced: u64, added: u64) -> Result<bool, Error> {
        let capacity = self.work.capacity;
        while self.state.bytes.saturating_sub(replaced) + added > capacity {
            if self.work.overflow == Overflow::DropNewest || added > capacity {
                return Ok(false);
            }
            let Some((seq, _)) = self.oldest()? else { return Ok(false) };
            self.remove(seq)?;
            self.applied.full += 1;
        }
        Ok(true)
    }

    /// The oldest event that may be evicted, and when it was captured.
    fn oldest(&mut self) -> Result<Option<(u64, u64)>, Error> {
        for entry in self.events.range(self.front..)? {
            let (seq, record) = entry?;
            self.front = seq.value();
            if !self.work.keeps(self.front) {
                // One whose time cannot be read is as old as can be.
                return Ok(Some((self.front, at(record.value()).unwrap_or(0))));
            }
        }
        Ok(None)
    }

    fn record(&self, event: &Stored) -> Vec<u8> {
        let Stored { seq, at, attempts, ref json } = *event;
        let sequence = self.state.sequence;
        Record { kind: Kind::Event, seq, sequence, at, attempts, json }.to_bytes()
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
}

impl Work<'_> {
    fn keeps(&self, seq: u64) -> bool {
        let put = || self.changes.put.binary_search_by_key(&seq, |event| event.seq).is_ok();
        self.held.0.contains(&seq) || put()
    }
}

fn size(record: AccessGuard<'_, &'static [u8]>) -> u64 {
    record.value().len() as u64
}

/// By one transaction, so that none takes long.
const EXPIRE_AT_MOST: u64 = 10_000;

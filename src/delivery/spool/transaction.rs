use redb::{AccessGuard, Database, Error, ReadableTable, ReadableTableMetadata, Table};

use super::changes::{Applied, Changes, Damaged, Held, Stored};
use super::record::{Kind, Record, at};
use super::state::State;
use super::tables::{ATTEMPTS, DEAD, EVENTS, META, STATE_KEY};
use crate::delivery::Overflow;
use crate::delivery::ledger::DropReason;

/// A transaction to be.
pub(super) struct Work<'a> {
    pub(super) changes: &'a Changes,
    /// The JSON of `changes.bury`.
    pub(super) letters: &'a [Vec<u8>],
    pub(super) damaged: &'a Damaged,
    pub(super) held: &'a Held,
    pub(super) overflow: Overflow,
    /// The most bytes of events.
    pub(super) capacity: u64,
    /// An event captured before this is too old, in milliseconds since 1970.
    pub(super) expired: u64,
    /// All events before this one are held or damaged.
    pub(super) front: u64,
    /// As of the last commit.
    pub(super) state: State,
    pub(super) now: u64,
}

/// What the next one begins with.
pub(super) struct Done {
    pub(super) applied: Applied,
    pub(super) state: State,
    pub(super) front: u64,
}

impl Work<'_> {
    pub(super) fn commit(self, db: &Database) -> Result<Done, Error> {
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
        open.bury()?;

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
        for number in &self.work.changes.settle {
            self.remove(*number)?;
        }
        for number in &self.work.damaged.events {
            self.applied.damaged += u64::from(self.remove(*number)?);
        }
        for number in self.work.changes.discard.iter().chain(&self.work.damaged.dead) {
            self.remove_dead(*number)?;
        }
        Ok(())
    }

    /// Evicts what is too old, from the oldest on to the first that is not.
    fn expire(&mut self) -> Result<(), Error> {
        while self.applied.expired < EXPIRE_AT_MOST {
            let Some((number, at)) = self.oldest()? else { break };
            if at >= self.work.expired {
                break;
            }
            self.remove(number)?;
            self.applied.expired += 1;
        }
        Ok(())
    }

    fn put(&mut self) -> Result<(), Error> {
        for event in &self.work.changes.put {
            let record = self.record(event);
            let replaced = self.events.get(event.number)?.map_or(0, |old| old.value().len());
            let added = record.len() as u64;
            if !self.make_room(replaced as u64, added)? {
                break;
            }
            self.remove_dead(event.number)?;
            let old = self.events.insert(event.number, record.as_slice())?;
            self.state.events += u64::from(old.is_none());
            self.state.bytes = self.state.bytes.saturating_sub(replaced as u64) + added;
            self.applied.written += 1;
        }
        Ok(())
    }

    fn count_attempts(&mut self) -> Result<(), Error> {
        for (number, attempts) in &self.work.changes.attempts {
            if self.events.get(number)?.is_some() {
                self.attempts.insert(number, attempts)?;
            }
        }
        Ok(())
    }

    fn bury(&mut self) -> Result<(), Error> {
        for ((number, _), json) in self.work.changes.bury.iter().zip(self.work.letters) {
            self.remove(*number)?;
            self.remove_dead(*number)?;
            let sequence = self.state.sequence;
            let (kind, at) = (Kind::DeadLetter, self.work.now);
            let record = Record { kind, number: *number, sequence, at, attempts: 0, json }.to_bytes();
            self.dead.insert(number, record.as_slice())?;
            self.state.dead_bytes += record.len() as u64;
        }
        Ok(())
    }

    /// No event on disk is before this one.
    fn floor(&self) -> Result<u64, Error> {
        Ok(self.events.first()?.map_or(u64::MAX, |(number, _)| number.value()))
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
            let Some((number, _)) = self.oldest()? else { return Ok(false) };
            self.remove(number)?;
            self.applied.full += 1;
        }
        Ok(true)
    }

    /// The oldest event that may be evicted, and when it was captured.
    fn oldest(&mut self) -> Result<Option<(u64, u64)>, Error> {
        for entry in self.events.range(self.front..)? {
            let (number, record) = entry?;
            self.front = number.value();
            if !self.work.keeps(self.front) {
                // One whose time cannot be read is as old as can be.
                return Ok(Some((self.front, at(record.value()).unwrap_or(0))));
            }
        }
        Ok(None)
    }

    fn record(&self, event: &Stored) -> Vec<u8> {
        let Stored { number, at, attempts, ref json } = *event;
        let sequence = self.state.sequence;
        Record { kind: Kind::Event, number, sequence, at, attempts, json }.to_bytes()
    }

    fn remove(&mut self, number: u64) -> Result<bool, Error> {
        let Some(bytes) = self.events.remove(number)?.map(size) else { return Ok(false) };
        self.state.events = self.state.events.saturating_sub(1);
        self.state.bytes = self.state.bytes.saturating_sub(bytes);
        if !self.attempts.is_empty()? {
            self.attempts.remove(number)?;
        }
        Ok(true)
    }

    fn remove_dead(&mut self, number: u64) -> Result<(), Error> {
        let bytes = self.dead.remove(number)?.map_or(0, size);
        self.state.dead_bytes = self.state.dead_bytes.saturating_sub(bytes);
        Ok(())
    }
}

impl Work<'_> {
    fn keeps(&self, number: u64) -> bool {
        let put = || self.changes.put.binary_search_by_key(&number, |event| event.number).is_ok();
        self.held.0.contains(&number) || put()
    }
}

fn size(record: AccessGuard<'_, &'static [u8]>) -> u64 {
    record.value().len() as u64
}

/// By one transaction, so that none takes long.
const EXPIRE_AT_MOST: u64 = 10_000;

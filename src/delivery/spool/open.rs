use redb::{
    Database, Error, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend,
};

use super::backend::Measured;
use super::changes::{Contents, Held};
use super::record::{Kind, Record};
use super::state::State;
use super::tables::{ATTEMPTS, DEAD, EVENTS, META, STATE_KEY, VERSION, VERSION_KEY};
use crate::delivery::dead_letter::DeadLetter;

/// What a file holds.
pub struct Found {
    pub state: State,
    pub contents: Contents,
    /// Those of the caller's held events that are on disk.
    pub held: Held,
    /// Dead letters that cannot be read.
    pub damaged: Vec<u64>,
}

/// Whether a later version of this crate wrote the file. It is an error if that cannot be read without a repair.
pub fn is_newer(file: Box<dyn StorageBackend>) -> Result<bool, Error> {
    let mut builder = Database::builder();
    builder.set_cache_size(HEADER_CACHE);
    let db = builder.open_read_only_with_backend(Measured::new(file).0)?;
    Ok(read_version(&db.begin_read()?.open_table(META)?)? > VERSION)
}

/// The few pages that hold the version.
const HEADER_CACHE: usize = 64 << 10;

/// Makes an empty file a store, and reads what the next steps need of any other. Returns `None` if a later version of this
/// crate wrote the file.
pub fn read_in(db: &Database, held: Held) -> Result<Option<Found>, Error> {
    if db.begin_read()?.list_tables()?.next().is_none() {
        begin(db)?;
    }
    read(&db.begin_read()?, held)
}

fn begin(db: &Database) -> Result<(), Error> {
    let transaction = db.begin_write()?;
    transaction.open_table(EVENTS)?;
    transaction.open_table(DEAD)?;
    transaction.open_table(ATTEMPTS)?;
    let mut meta = transaction.open_table(META)?;
    meta.insert(VERSION_KEY, VERSION.to_le_bytes().as_slice())?;
    meta.insert(STATE_KEY, State::default().to_bytes(u64::MAX).as_slice())?;
    drop(meta);
    Ok(transaction.commit()?)
}

fn read(transaction: &ReadTransaction, mut held: Held) -> Result<Option<Found>, Error> {
    let meta = transaction.open_table(META)?;
    let version = read_version(&meta)?;
    if version > VERSION {
        return Ok(None);
    }
    let state = read_state(&meta)?;
    let events = transaction.open_table(EVENTS)?;
    let letters = transaction.open_table(DEAD)?;
    transaction.open_table(ATTEMPTS)?;

    for seq in held.clone() {
        if events.get(seq)?.is_none() {
            held.remove(&seq);
        }
    }
    let mut dead = Vec::new();
    let mut damaged = Vec::new();
    for entry in letters.iter()? {
        let (seq, value) = entry?;
        let seq = seq.value();
        let record = Record::expect(value.value(), Kind::DeadLetter, seq);
        match record.and_then(|record| DeadLetter::from_json(seq, record.json)) {
            Some(letter) => dead.push((seq, letter)),
            None => damaged.push(seq),
        }
    }
    let last_event = events.last()?.map(|(seq, _)| seq.value());
    let last = last_event.max(letters.last()?.map(|(seq, _)| seq.value()));
    let mut contents = Contents { dead, last, ..Contents::default() };
    contents.count(state);
    Ok(Some(Found { state, contents, held, damaged }))
}

type Meta = ReadOnlyTable<&'static str, &'static [u8]>;

fn read_version(meta: &Meta) -> Result<u32, Error> {
    let row = meta.get(VERSION_KEY)?;
    let version = row.and_then(|row| row.value().try_into().ok());
    version.map(u32::from_le_bytes).ok_or_else(|| Error::Corrupted("no format version".to_owned()))
}

fn read_state(meta: &Meta) -> Result<State, Error> {
    let row = meta.get(STATE_KEY)?;
    let state = row.and_then(|row| Record::read(row.value()).and_then(|record| State::read(&record)));
    state.ok_or_else(|| Error::Corrupted("no totals".to_owned()))
}

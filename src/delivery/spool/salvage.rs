//! Salvages a damaged file: finds every record in it that is whole, without redb.
//!
//! The file is read from end to end, twice: for the newest counts, and for the records that may still have
//! been alive then. A copy-on-write file is full of copies of the past, so an event that was delivered may
//! come back; PostHog counts its uuid once.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::changes::{Changes, Stored};
use super::record::{HEADER, Kind, MAGIC, OVERHEAD, Record, length};
use super::state::State;
use super::store::Store;
use crate::delivery::dead_letter::DeadLetter;
use crate::rt::clock;

/// Moves the whole records into a new store, as far as there is room. `free` is how much of the disk is free.
pub fn salvage(
    damaged: &mut (impl Read + Seek),
    store: &mut Store,
    free: impl Fn() -> Option<u64>,
) -> io::Result<()> {
    let mut newest: Option<(State, u64)> = None;
    let mut written_at = None;
    damaged.rewind()?;
    scan(damaged, |record| {
        written_at = written_at.max(Some(record.at));
        if let Some(state) = State::read(record)
            && newest.is_none_or(|(newest, _)| newest.sequence < state.sequence)
        {
            newest = Some((state, record.seq));
        }
        Ok(())
    })?;
    let (state, floor) = newest.unwrap_or_default();
    // As old as the file was, so that a jump of the clock since then is noticed.
    let now = written_at.map_or_else(clock::wall, |at| UNIX_EPOCH + Duration::from_millis(at));
    let mut chunk = Chunk { events: BTreeMap::new(), dead: BTreeMap::new(), bytes: 0, state, now };
    damaged.rewind()?;
    scan(damaged, |record| {
        chunk.take(record, floor);
        if chunk.bytes >= CHUNK { chunk.write(store, free()) } else { Ok(()) }
    })?;
    chunk.write(store, free())
}

/// Records on their way.
struct Chunk {
    events: BTreeMap<u64, Stored>,
    dead: BTreeMap<u64, DeadLetter>,
    bytes: usize,
    state: State,
    /// When the file was written to last.
    now: SystemTime,
}

impl Chunk {
    fn take(&mut self, record: &Record<'_>, floor: u64) {
        let Record { kind, seq, sequence, at, attempts, json } = *record;
        self.bytes += json.len();
        match kind {
            Kind::Event if seq >= floor || sequence > self.state.sequence => {
                let event = Stored { seq, at, attempts, json: Bytes::copy_from_slice(json) };
                self.events.insert(seq, event);
            }
            Kind::DeadLetter => {
                self.dead.extend(DeadLetter::from_json(seq, json).map(|letter| (seq, letter)))
            }
            Kind::Event | Kind::State => self.bytes -= json.len(),
        }
    }

    fn write(&mut self, store: &mut Store, free: Option<u64>) -> io::Result<()> {
        self.bytes = 0;
        let changes = Changes {
            put: std::mem::take(&mut self.events).into_values().collect(),
            dead_letter: std::mem::take(&mut self.dead).into_iter().collect(),
            totals: self.state.totals,
            ..Changes::default()
        };
        let applied = store.apply(&changes, self.now, free)?;
        if applied.written < changes.put.len() {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no room for what is left of it"));
        }
        Ok(())
    }
}

/// Every record in a file, in memory for no more than the longest.
pub fn scan(file: &mut impl Read, mut found: impl FnMut(&Record<'_>) -> io::Result<()>) -> io::Result<()> {
    let mut window = Vec::new();
    let mut ended = false;
    loop {
        let (done, wanted) = scan_window(&window, ended, &mut found)?;
        if ended {
            return Ok(());
        }
        window.drain(..done);
        ended = file.by_ref().take(wanted as u64).read_to_end(&mut window)? == 0;
    }
}

/// Returns how much of the window is done, and how many more bytes are needed to go on.
fn scan_window(
    window: &[u8],
    last: bool,
    found: &mut impl FnMut(&Record<'_>) -> io::Result<()>,
) -> io::Result<(usize, usize)> {
    let mut at = 0;
    while let Some(next) = window[at..].iter().position(|byte| *byte == MAGIC[0]) {
        at += next;
        let rest = &window[at..];
        if rest.len() < HEADER && !last {
            return Ok((at, READ));
        }
        let length = length(rest).filter(|length| *length <= LONGEST);
        let missing = length.map_or(0, |length| length.saturating_sub(rest.len()));
        if missing > 0 && !last {
            return Ok((at, missing.max(READ)));
        }
        match length.and_then(|length| rest.get(..length)).and_then(Record::read) {
            Some(record) => {
                found(&record)?;
                at += record.json.len() + OVERHEAD;
            }
            None => at += 1,
        }
    }
    Ok((window.len(), READ))
}

/// Longer than any record is.
const LONGEST: usize = 64 << 20;
const READ: usize = 1 << 16;
/// Bytes of records that are written at a time.
const CHUNK: usize = 4 << 20;

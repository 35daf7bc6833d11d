mod damage;
mod directory;
mod disk;
mod failing_disk;
mod faults;
#[cfg(feature = "simulation")]
mod forgets;
#[cfg(feature = "simulation")]
mod full;
mod hangs;
mod keeper;
mod model;
#[cfg(feature = "simulation")]
mod power;
#[cfg(feature = "simulation")]
mod simulated;
mod store;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::changes::{Changes, Stored};
use super::config::{Bounds, SpoolConfig};
use super::store::Store;
use super::thread::Spool;
use crate::delivery::Overflow;
use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::queue::Queue;
use crate::{Error, ErrorKind};
pub use failing_disk::Faults;

const WIDE: Bounds = Bounds {
    bytes: 1 << 40,
    age: Duration::from_secs(3600),
    min_free: 1 << 20,
    overflow: Overflow::DropNewest,
};

impl Spool {
    /// A spool on a disk that fails or hangs on demand.
    pub fn start_with(faults: &Faults, queue: &Arc<Queue>, config: SpoolConfig) -> Self {
        Self::start_on(faults.disk(), queue, config)
    }
}

/// Captured at this many milliseconds since 1970.
fn stored(seq: u64, at: u64) -> Stored {
    Stored { seq, at, attempts: 0, json: json(seq, 20 + (seq as usize * 37) % 90) }
}

/// Each event's is unlike all others'.
fn json(seq: u64, padding: usize) -> Bytes {
    format!(r#"{{"event":"e{seq}","pad":"{}"}}"#, "x".repeat(padding)).into()
}

fn put(seqs: impl IntoIterator<Item = u64>) -> Changes {
    let put: Vec<Stored> = seqs.into_iter().map(|seq| stored(seq, 1000)).collect();
    Changes { put, ..Changes::default() }
}

fn letter(seq: u64) -> DeadLetter {
    let error = Error::new(ErrorKind::BadRequest).with_status(400).with_answer(Some("no \"name\"".into()));
    DeadLetter::new(seq, json(seq, 10), &error)
}

fn at(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}

/// All that is not held.
/// All events, however old they are: at the beginning of time none is.
fn drain(store: &mut Store) -> Vec<Stored> {
    store.load(usize::MAX, usize::MAX, at(0)).unwrap()
}

fn seqs(events: &[Stored]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}

/// As if that version of the crate had written the file.
fn set_version(db: Result<redb::Database, redb::DatabaseError>, version: u32) {
    use super::tables::{META, VERSION_KEY};
    let db = db.unwrap();
    let transaction = db.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert(VERSION_KEY, version.to_le_bytes().as_slice()).unwrap();
    transaction.commit().unwrap();
}

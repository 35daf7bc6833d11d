mod damage;
mod directory;
mod disk;
mod faults;
mod keeper;
mod model;
mod store;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::changes::{Changes, Stored};
use super::config::Bounds;
use super::store::Store;
use crate::delivery::Overflow;
use crate::delivery::dead_letter::DeadLetter;
use crate::{Error, ErrorKind};

const WIDE: Bounds = Bounds {
    bytes: 1 << 40,
    age: Duration::from_secs(3600),
    min_free: 1 << 20,
    overflow: Overflow::DropNewest,
};

/// Captured at this many milliseconds since 1970.
fn stored(number: u64, at: u64) -> Stored {
    Stored { number, at, attempts: 0, json: json(number, 20 + (number as usize * 37) % 90) }
}

/// Each event's is unlike all others'.
fn json(number: u64, padding: usize) -> Bytes {
    format!(r#"{{"event":"e{number}","pad":"{}"}}"#, "x".repeat(padding)).into()
}

fn put(numbers: impl IntoIterator<Item = u64>) -> Changes {
    let put: Vec<Stored> = numbers.into_iter().map(|number| stored(number, 1000)).collect();
    Changes { put, ..Changes::default() }
}

fn letter(number: u64) -> DeadLetter {
    let error = Error::new(ErrorKind::BadRequest).with_status(400).with_answer(Some("no \"name\"".into()));
    DeadLetter::new(number, json(number, 10), &error)
}

fn at(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}

/// All that is not held.
fn drain(store: &mut Store) -> Vec<Stored> {
    store.load(usize::MAX, usize::MAX).unwrap()
}

fn numbers(events: &[Stored]) -> Vec<u64> {
    events.iter().map(|event| event.number).collect()
}

/// A directory that is gone afterwards.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("posthog-health-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

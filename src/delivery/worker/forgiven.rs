use std::sync::atomic::{AtomicU64, Ordering};

use crate::ErrorKind;

/// Failed attempts that the monitor has counted, and that turned out to be the fault of an event: by kind, since the start.
#[derive(Debug, Default)]
pub struct Forgiven([AtomicU64; ErrorKind::ALL.len()]);

impl Forgiven {
    pub fn add(&self, kind: ErrorKind) {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn totals(&self) -> [u64; ErrorKind::ALL.len()] {
        self.0.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ErrorKind;

/// Failures that the monitor must not hold against PostHog, because they are the fault of events.
#[derive(Debug, Default)]
pub struct Forgiven {
    /// Failed attempts that the monitor has counted, by kind, since the start.
    attempts: [AtomicU64; ErrorKind::ALL.len()],
    /// Events that wait although others are accepted.
    waiting: AtomicU64,
}

impl Forgiven {
    pub fn add(&self, kind: ErrorKind) {
        self.attempts[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn totals(&self) -> [u64; ErrorKind::ALL.len()] {
        self.attempts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    pub fn set_waiting(&self, events: u64) {
        self.waiting.store(events, Ordering::Relaxed);
    }

    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }
}

//! Without the feature `spool` there is no disk: every event is live, and nobody is owed anything.

mod trouble;

use std::convert::Infallible;

use super::spool_health::SpoolHealth;
use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::ledger::{Account, DropReason, Ledger};
pub use trouble::{Sample, Trouble};

/// There is no thread to wake.
#[derive(Debug, Default)]
pub struct Wake(());

impl Wake {
    pub fn notify_one(&self) {}
}

/// Nobody waits for a disk.
pub type Waiter = Infallible;

/// Where an event goes that has just come.
#[derive(Debug)]
#[allow(dead_code, reason = "without a disk, all go the first way")]
pub enum Place {
    Live,
    Outbox,
    Refused(DropReason),
}

#[derive(Debug, Default)]
pub struct SpoolLink {
    pub journal: Journal,
    pub trouble: Trouble,
}

/// Nothing is on disk, so nothing happens to it.
#[derive(Debug, Default)]
pub struct Journal;

impl Journal {
    pub fn is_urgent(&self) -> bool {
        false
    }

    pub fn settle(&mut self, _: u64, _: Account) {}

    pub fn attempt(&mut self, _: u64, _: u32) {}
}

impl SpoolLink {
    pub fn is_on(&self) -> bool {
        false
    }

    pub fn stores_all(&self) -> bool {
        false
    }

    /// Nobody asks how old an event is.
    pub fn captured_at(&self) -> u64 {
        0
    }

    pub fn is_usable(&self) -> bool {
        false
    }

    pub fn will_write(&self) -> bool {
        false
    }

    pub fn health(&self, _: u64, _: std::time::Instant) -> Option<SpoolHealth> {
        None
    }

    pub fn place(&self, _: Option<&Waiter>) -> Place {
        Place::Live
    }

    pub fn gather(&mut self, _: u64, _: Option<Waiter>) -> bool {
        false
    }

    pub fn wakes_for(&self, _: bool) -> bool {
        false
    }

    pub fn wake(&mut self) -> bool {
        false
    }

    pub fn sleeps_through(&self, _: &Ledger) -> bool {
        false
    }

    pub fn refuse(_: Option<Waiter>, _: DropReason) {}

    pub fn take_waiters(&mut self) {}

    pub fn tell(&mut self, _: u64, _: Result<(), DropReason>) {}

    pub fn release(&mut self, _: u64, _: u64) {}

    pub fn released_from(&self) -> Option<u64> {
        None
    }

    pub fn forget_released(&mut self) {}

    pub fn dead_letter(&mut self, _: &DeadLetter) {}

    pub fn discard(&mut self, _: u64, _: Option<Account>) {}

    pub fn replay(&mut self, _: u64) -> bool {
        false
    }
}

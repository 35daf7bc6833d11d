//! All events that are on their way, and the numbers about them.

mod dead_letters;
mod disk;
mod ending;
mod entering;
mod event;
mod limits;
mod room;
mod sending;
mod sizes;
mod spool_health;
mod state;
#[cfg(feature = "spool")]
mod storing;
#[cfg(feature = "spool")]
#[cfg(test)]
mod storing_tests;
#[cfg(test)]
mod tests;
#[cfg(feature = "spool")]
mod turn;
#[cfg(feature = "spool")]
mod written;

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::ledger::{DropReason, Ledger, Totals};
use disk::Sleep;
pub(super) use event::{Captured, Encoded};
pub(crate) use limits::Limits;
pub use limits::{Overflow, QueueFill};
pub use spool_health::{SpoolHealth, SpoolIssue, SpoolState};
use state::State;
#[cfg(feature = "spool")]
pub(super) use turn::{Read, Turn};

/// All events that are on their way, the ledger that counts them, and the wake-up of the worker.
///
/// One short lock guards it all, so the ledger is exact at every moment. Under it, events are moved and
/// numbers added; encoding, freeing and I/O happen outside.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    pub(super) limits: Limits,
    pub(super) wake: Notify,
    /// Wakes the spool's thread.
    disk_wake: Condvar,
    /// The number of the first event that has not met its end: all before it have.
    settled_to: watch::Sender<u64>,
}

/// The queue at one moment: its numbers agree with each other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) fill: QueueFill,
    pub(crate) ledger: Ledger,
    /// What this process counted: without what the spool remembers of others.
    pub(crate) own: Totals,
    /// Events that it got from earlier processes, `found_lost` included.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "what only the metrics show"))]
    pub(crate) taken_over: u64,
    /// Events that an earlier process turned out to have lost.
    pub(crate) found_lost: u64,
    /// Own events that were set aside, those that were replayed since included.
    pub(crate) buried: u64,
    /// `None` without a spool.
    pub(crate) spool: Option<SpoolHealth>,
    /// When an event was last lost that nobody asked to drop.
    pub(crate) last_loss: Option<Instant>,
    /// When an event was last set aside.
    pub(crate) last_burial: Option<Instant>,
}

impl Queue {
    /// A queue, or one that is closed from the beginning and drops everything for that reason. Its events get
    /// numbers from `first_number` on.
    pub(crate) fn new(limits: Limits, first_number: u64, closed: Option<DropReason>) -> Self {
        let state = State {
            closed,
            first_number,
            next_number: first_number,
            due_to: first_number,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            limits,
            wake: Notify::new(),
            disk_wake: Condvar::new(),
            settled_to: watch::Sender::new(first_number),
        }
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.state().ledger
    }

    /// What this process counted: without what the spool remembers of others.
    pub(crate) fn own_totals(&self) -> Totals {
        self.state().own_totals()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let state = self.state();
        let own = state.own_totals();
        Snapshot {
            fill: QueueFill {
                events: state.in_memory(),
                capacity: self.limits.events as u64,
                bytes: state.bytes as u64,
                capacity_bytes: self.limits.bytes as u64,
            },
            ledger: state.ledger,
            own,
            taken_over: state.taken_over(),
            found_lost: state.found_lost,
            buried: state.buried,
            spool: state.disk.health(state.ledger.spooled, std::time::Instant::now()),
            last_loss: state.last_loss,
            last_burial: state.last_burial,
        }
    }

    /// Tells those who wait what has changed: that events met their end, that the spool has something to do.
    fn publish(&self, state: &mut State) {
        if state.in_memory() < self.limits.events as u64 / 2 && state.bytes < self.limits.bytes / 2 {
            state.overflowing = false;
        }
        if state.wants_to_write(&self.limits) || state.disk.sleeps_through(&state.ledger) {
            self.wake_disk(state);
        }
        let settled = state.settled_to();
        self.settled_to.send_if_modified(|to| std::mem::replace(to, settled) != settled);
    }

    /// Wakes the spool's thread, if it sleeps: to notify costs a system call even when it does not.
    fn wake_disk(&self, state: &mut State) {
        if std::mem::take(&mut state.disk.sleep) != Sleep::Awake {
            self.disk_wake.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

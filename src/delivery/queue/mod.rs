//! All events that are on their way.
//!
//! [`State`] has an event's steps; [`Memory`] owns the lanes, [`SpoolLink`] what the disk is owed, and the
//! [ledger](super::ledger) counts. [`Queue`] is the lock around them and the wake-ups: [`Producer`](super::Producer)
//! enters events, the worker takes them by [`sending`], the spool's thread by [`storing`].

mod limits;
mod memory;
mod queued;
mod sending;
mod spool_health;
#[cfg_attr(not(feature = "spool"), path = "spool_link/disabled.rs")]
mod spool_link;
#[cfg(feature = "spool")]
mod spool_work;
mod state;
#[cfg(feature = "spool")]
mod storing;
#[cfg(all(test, feature = "spool"))]
mod storing_tests;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::dead_letter::DeadLetter;
use super::ledger::{DropReason, Ledger, Totals};
use crate::rt::Heartbeat;
pub use limits::{Limits, Overflow, QueueFill};
pub use queued::{EventEnd, QueuedEvent};
pub use spool_health::{SpoolHealth, SpoolIssue, SpoolState};
pub use spool_link::Waiter;
use spool_link::Wake;
#[cfg(feature = "spool")]
pub use spool_work::{Read, SpoolWork};
pub use state::State;
use state::Wakes;

/// All events that are on their way, the ledger that counts them, and the wake-up of the worker.
///
/// One short lock guards it all, so the ledger is exact at every moment. Under it, events are moved and numbers added;
/// encoding, freeing and I/O happen outside.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    wake: Notify,
    /// The worker's.
    heartbeat: Heartbeat,
    /// Wakes the spool's thread.
    spool_wake: Wake,
    /// Wakes the thread that watches the disk.
    watch_wake: Wake,
    /// The place of the first event that has not met its end: all before it have.
    settled_to: watch::Sender<u64>,
}

/// The queue at one moment: its numbers agree with each other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    pub fill: QueueFill,
    pub ledger: Ledger,
    /// What this process counted: without what the spool remembers of others.
    pub own: Totals,
    /// Events that it got from earlier processes, `found_lost` included.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "what only the metrics show"))]
    pub taken_over: u64,
    /// Events that an earlier process turned out to have lost.
    pub found_lost: u64,
    /// Own events that became dead letters, those that were replayed since included.
    pub dead_lettered: u64,
    /// Aliases that PostHog refuses to carry out.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "what only the metrics show"))]
    pub unmergeable: u64,
    /// Distinct ids that were cut.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "what only the metrics show"))]
    pub cut_ids: u64,
    /// `None` without a spool.
    pub spool: Option<SpoolHealth>,
    /// When an event was last lost that nobody asked to drop.
    pub last_loss: Option<Instant>,
    /// When an event last became a dead letter.
    pub last_dead_letter: Option<Instant>,
}

impl Queue {
    /// A queue, or one that is closed from the beginning and drops everything for that reason. Its events get places in
    /// the order of capture from `first_seq` on.
    pub fn new(limits: Limits, first_seq: u64, closed: Option<DropReason>) -> Self {
        Self {
            state: Mutex::new(State::new(limits, first_seq, closed)),
            wake: Notify::new(),
            heartbeat: Heartbeat::new(Instant::now()),
            spool_wake: Wake::default(),
            watch_wake: Wake::default(),
            settled_to: watch::Sender::new(first_seq),
        }
    }

    /// Looks at the state.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state())
    }

    /// Takes one step under the lock, and wakes those whom it concerns. What it gives back is dropped outside.
    #[inline]
    pub fn step<T>(&self, step: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let result = step(&mut state);
        self.conclude(state);
        result
    }

    /// Ends a step: wakes those whom it concerns, outside the lock.
    #[inline]
    fn conclude(&self, mut state: MutexGuard<'_, State>) {
        let Wakes { worker, spool, settled_to } = state.take_wakes();
        if let Some(settled) = settled_to {
            self.settled_to.send_if_modified(|to| std::mem::replace(to, settled) != settled);
        }
        drop(state);
        if worker {
            self.wake.notify_one();
        }
        if spool {
            self.spool_wake.notify_one();
        }
    }

    pub fn limits(&self) -> Limits {
        self.look(|state| state.limits.clone())
    }

    pub fn ledger(&self) -> Ledger {
        self.look(State::ledger)
    }

    /// What this process counted: without what the spool remembers of others.
    pub fn own_totals(&self) -> Totals {
        self.look(State::own_totals)
    }

    pub fn snapshot(&self) -> Snapshot {
        self.look(State::snapshot)
    }

    /// Lets an event in that was captured just now, or drops it. The waiter is told when it is on disk.
    #[inline]
    pub fn enter(&self, json: Bytes, waiter: Option<Waiter>) {
        drop(self.step(|state| state.enter(json, waiter)));
    }

    /// Counts an event as dropped that is not to enter.
    #[cold]
    pub fn refuse(&self, reason: DropReason, waiter: Option<Waiter>) {
        self.step(|state| state.refuse(reason, waiter));
    }

    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.look(State::dead_letters)
    }

    /// Queues the dead letters again, as long as there is room. Tells how many.
    pub fn replay_dead_letters(&self) -> u64 {
        self.step(State::replay_dead_letters)
    }

    /// Drops the dead letters. Tells how many.
    pub fn discard_dead_letters(&self) -> u64 {
        self.step(State::discard_dead_letters).len() as u64
    }

    /// Resolves when all events before `seq` have met their end.
    pub async fn settled(&self, seq: u64) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.settled_to.subscribe().wait_for(|settled| *settled >= seq).await;
    }

    /// Asks that what is here now leaves now, and tells the place to wait for.
    pub fn flush(&self) -> u64 {
        self.step(State::flush)
    }

    /// Ends admission. What is here becomes due, but for what lies on disk anyway. True for the first caller.
    pub fn close(&self) -> bool {
        self.step(State::close).0
    }

    pub fn is_closed(&self) -> bool {
        self.look(State::is_closed)
    }

    /// Whether nobody drives the worker. It was woken to answer that.
    pub fn is_unattended(&self) -> bool {
        self.heartbeat.is_silent(Instant::now(), || self.wake.notify_one())
    }

    /// Whether the worker was asked and has not answered yet.
    #[cfg(feature = "error-tracking")]
    pub fn owes_an_answer(&self) -> bool {
        self.heartbeat.is_asked()
    }

    /// Whether everything was dropped, so that nothing is delivered any more.
    pub fn is_abandoned(&self) -> bool {
        self.look(State::is_abandoned)
    }

    /// Ends admission, and drops all that is left in memory only, batches in flight included. Tells how many events that
    /// were.
    pub fn abandon(&self) -> u64 {
        let (left, _freed) = self.step(State::abandon);
        self.watch_wake.notify_one();
        left
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

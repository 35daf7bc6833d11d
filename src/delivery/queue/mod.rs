//! All events that are on their way, and the numbers about them.

mod disk;
mod event;
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

use super::admit::{admit, measure};
use super::dead_letter::DeadLetter;
use super::event::AnyEvent;
use super::ledger::{DropReason, Ledger, Totals};
use disk::{Sleep, Waiter};
use event::Ticket;
pub(super) use event::{Captured, Encoded};
pub(crate) use spool_health::optional_ms;
pub use spool_health::{SpoolHealth, SpoolIssue, SpoolState};
pub(crate) use state::Limits;
use state::State;
pub use state::{Overflow, QueueFill};
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
#[derive(Clone, Copy, Debug)]
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

    #[inline(always)] // An event is moved once less.
    pub(crate) fn capture(&self, event: impl Into<AnyEvent>) {
        self.enter(Captured::now(event), &mut None);
    }

    /// Lets an event in, or drops it. `waiter` is told when it is on disk.
    fn enter(&self, mut captured: Captured, waiter: &mut Option<Waiter>) {
        let admitted = admit(&captured.event);
        let mut state = self.state();
        let admitted = match admitted {
            Ok(None) if self.must_measure(&state) && state.closed.is_none() => {
                drop(state);
                let size = measure(&captured.event);
                state = self.state_with(size);
                Ok(size)
            }
            Ok(size) => Ok(size.unwrap_or(state.sizes.mean())),
            Err(reason) => Err(reason),
        };
        let number = state.number();
        let size = match state.closed.map_or(admitted, Err) {
            Ok(size) if size <= self.limits.bytes => size,
            refused => return self.refuse(&mut state, refused.err().unwrap_or(DropReason::TooLarge), waiter),
        };
        captured.ticket.number = number;
        captured.ticket.size = size;
        if !state.has_room(size, &self.limits) {
            return self.overflow(state, captured, waiter);
        }
        if let Some(waiter) = waiter.take() {
            state.announce(number, waiter);
        }
        let wake = state.push(captured, &self.limits);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }

    #[inline]
    fn must_measure(&self, state: &State) -> bool {
        let is_first = state.raw.is_empty() && !state.overflowing;
        let leaves_no_room = state.bytes + state.sizes.mean() > self.limits.bytes;
        leaves_no_room || state.sizes.must_measure(state.next_number, is_first)
    }

    /// Makes room for an event, or drops it.
    #[cold]
    fn overflow(&self, mut state: MutexGuard<'_, State>, captured: Captured, waiter: &mut Option<Waiter>) {
        let Ticket { number, size, .. } = captured.ticket;
        let evicted = state.make_room(size, &self.limits);
        let full = !state.has_room(size, &self.limits);
        let begins = (full || !evicted.is_empty())
            && !std::mem::replace(&mut state.overflowing, true)
            && state.overflow.begins(Instant::now().into_std());
        if full {
            self.refuse(&mut state, DropReason::QueueFull, waiter);
        } else {
            if let Some(waiter) = waiter.take() {
                state.announce(number, waiter);
            }
            if state.push(captured, &self.limits) {
                self.wake.notify_one();
            }
        }
        if !evicted.is_empty() {
            self.publish(&mut state);
        }
        drop(state);
        drop(evicted);
        if begins {
            let Limits { events, bytes, .. } = self.limits;
            tracing::warn!(events, bytes, "queue full: dropping events");
        }
    }

    #[cold]
    fn state_with(&self, measured: usize) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.sizes.measured(measured);
        state
    }

    /// Who waits for earlier events need not know, and whoever is to wait from now on is told by [`flush`](Self::flush).
    #[cold]
    fn refuse(&self, state: &mut State, reason: DropReason, waiter: &mut Option<Waiter>) {
        state.lose(1, reason);
        if let Some(waiter) = waiter.take() {
            let _ = waiter.send(Err(reason));
        }
        if state.disk.sleeps_through(&state.ledger) {
            self.wake_disk(state);
        }
    }

    pub(crate) fn dead_letters(&self) -> Vec<DeadLetter> {
        self.state().dead.to_vec()
    }

    /// Queues the dead letters again, as long as there is room. Tells how many.
    pub(crate) fn replay_dead_letters(&self) -> u64 {
        let mut replayed = 0;
        let mut state = self.state();
        while state.closed.is_none() {
            let Some(bytes) = state.dead.next_bytes() else { break };
            if !state.has_room(bytes, &self.limits) {
                break;
            }
            let Some(letter) = state.dead.pop() else { break };
            state.ledger.dead_lettered -= 1;
            state.revive(letter);
            replayed += 1;
        }
        self.publish(&mut state);
        drop(state);
        self.flush();
        replayed
    }

    /// Drops the dead letters. Tells how many.
    pub(crate) fn discard_dead_letters(&self) -> u64 {
        let mut state = self.state();
        let discarded = std::mem::take(&mut state.dead).into_vec();
        state.drop_dead(&discarded, DropReason::DeadLetterDiscarded);
        self.publish(&mut state);
        drop(state);
        discarded.len() as u64
    }

    /// Resolves when all events before `number` have met their end.
    pub(crate) async fn settled(&self, number: u64) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.settled_to.subscribe().wait_for(|settled| *settled >= number).await;
    }

    /// Asks that what is here now leaves now, and tells the number to wait for.
    pub(crate) fn flush(&self) -> u64 {
        let number = self.make_due();
        self.publish(&mut self.state());
        self.wake.notify_one();
        number
    }

    /// Ends admission. What is here becomes due, but for what lies on disk anyway. True for the first caller.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.state();
        let first = state.closed.is_none();
        state.closed.get_or_insert(DropReason::AfterShutdown);
        let on_disk = std::mem::take(&mut state.backlog);
        on_disk.iter().for_each(|event| state.release(event));
        self.publish(&mut state);
        self.wake_disk(&mut state);
        drop(state);
        self.flush();
        first
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed.is_some()
    }

    /// Ends admission, and drops all that is left in memory only, batches under way included. Tells how many
    /// events that were.
    pub(crate) fn abandon(&self) -> u64 {
        let mut state = self.state();
        state.abandoned = true;
        state.closed.get_or_insert(DropReason::AfterShutdown);
        let left = std::mem::take(&mut state.ledger.queued);
        state.lose(left, DropReason::Shutdown);
        let waiters = std::mem::take(&mut state.disk.waiters);
        let freed = state.clear();
        self.publish(&mut state);
        self.wake_disk(&mut state);
        drop(state);
        drop(freed);
        waiters.into_values().for_each(|waiter| {
            let _ = waiter.send(Err(DropReason::Shutdown));
        });
        left
    }

    /// Whether nothing is left to send: nothing in memory, or, while delivery stands still, nothing that is
    /// not on disk.
    pub(crate) fn is_done(&self) -> bool {
        let state = self.state();
        state.in_memory() == 0 || (state.disk.in_trouble && state.ledger.queued == 0)
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

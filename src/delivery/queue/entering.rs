//! An event's first steps: it is admitted, measured if need be, and waits for the encoder; or it is dropped.

use std::sync::MutexGuard;

use tokio::time::Instant;

use super::Queue;
use super::disk::Waiter;
use super::event::{Captured, Ticket};
use super::limits::Limits;
use super::state::State;
use crate::delivery::admit::{admit, measure};
use crate::delivery::event::AnyEvent;
use crate::delivery::ledger::DropReason;
use crate::rt::target;

impl Queue {
    #[inline(always)] // An event is moved once less.
    pub(crate) fn capture(&self, event: impl Into<AnyEvent>) {
        self.enter(Captured::now(event), &mut None);
    }

    /// Lets an event in, or drops it. `waiter` is told when it is on disk.
    pub(super) fn enter(&self, mut captured: Captured, waiter: &mut Option<Waiter>) {
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
            tracing::warn!(target: target::DELIVERY, events, bytes, "queue full: dropping events");
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
}

impl State {
    /// Takes note of who waits for the event of this number to be on disk.
    pub(super) fn announce(&mut self, number: u64, waiter: Waiter) {
        self.encode_to = number + 1;
        self.disk.waiters.insert(number, waiter);
    }

    /// Whether the worker must be woken: for the first event of a linger period and for a full batch,
    /// never for each event.
    #[inline]
    pub(super) fn push(&mut self, captured: Captured, limits: &Limits) -> bool {
        let bytes_before = self.raw_bytes;
        let at_once = captured.ticket.number < self.encode_to;
        self.ledger.queued += 1;
        self.raw_bytes += captured.ticket.size;
        self.bytes += captured.ticket.size;
        self.raw.push_back(captured);
        let fills_bytes = bytes_before < limits.batch_bytes && self.raw_bytes >= limits.batch_bytes;
        at_once || self.raw.len() == 1 || self.raw.len() == limits.batch_events || fills_bytes
    }
}

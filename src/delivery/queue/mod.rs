//! All events that are on their way, and the numbers about them.

mod state;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use posthog_rs::Event;
use tokio::sync::{Notify, watch};

use super::admit::admit;
use super::dead_letter::DeadLetter;
use super::ledger::{DropReason, Ledger};
use crate::transport::ENVELOPE_BYTES;
use crate::{Error, ErrorKind};
use state::State;
pub(super) use state::{Captured, Encoded, Ticket};
pub(crate) use state::{Limits, Snapshot};
pub use state::{Overflow, QueueFill};

/// All events that are on their way, the ledger that counts them, and the wake-up of the worker.
///
/// One short lock guards it all, so the ledger is exact at every moment. Under it, events are moved and
/// numbers added; encoding, freeing and I/O happen outside.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    pub(super) limits: Limits,
    pub(super) wake: Notify,
    /// The number of the first event that has not met its end: all before it have.
    settled_to: watch::Sender<u64>,
}

impl Queue {
    /// A queue, or one that is closed from the beginning and drops everything for that reason.
    pub(crate) fn new(limits: Limits, closed: Option<DropReason>) -> Self {
        let state = Mutex::new(State { closed, ..State::default() });
        Self { state, limits, wake: Notify::new(), settled_to: watch::Sender::new(0) }
    }

    pub(crate) fn capture(&self, event: Event) {
        let at = SystemTime::now();
        let admitted = admit(&event);
        let mut state = self.state();
        let number = state.number();
        let size = match state.closed.map_or(admitted, Err) {
            Ok(size) if size <= self.limits.bytes => size,
            refused => {
                let reason = refused.err().unwrap_or(DropReason::TooLarge);
                state.lose(1, reason);
                return self.publish(&mut state);
            }
        };
        let evicted = state.make_room(size, &self.limits);
        let full = !state.has_room(size, &self.limits);
        let overflow_begins =
            (full || !evicted.is_empty()) && !std::mem::replace(&mut state.overflowing, true);
        let wake = if full {
            state.lose(1, DropReason::QueueFull);
            false
        } else {
            state.push(Captured { event, at, ticket: Ticket { number, size } }, &self.limits)
        };
        if full || !evicted.is_empty() {
            self.publish(&mut state);
        }
        drop(state);
        drop(evicted);
        if wake {
            self.wake.notify_one();
        }
        if overflow_begins {
            tracing::warn!(
                events = self.limits.events,
                bytes = self.limits.bytes,
                "queue full: dropping events"
            );
        }
    }

    /// Whether raw events must be encoded now: a full batch of them, or some that are due.
    pub(super) fn must_encode(&self) -> bool {
        let state = self.state();
        let due = state.raw.front().is_some_and(|first| first.ticket.number < state.due_to);
        due || state.raw.len() >= self.limits.batch_events || state.raw_bytes >= self.limits.batch_bytes
    }

    pub(super) fn take_raw(&self) -> VecDeque<Captured> {
        let mut state = self.state();
        let mut bytes = 0;
        let fits = |raw: &&Captured| {
            let fits = bytes < self.limits.batch_bytes;
            bytes += raw.ticket.size;
            fits
        };
        let chunk = state.raw.iter().take(self.limits.batch_events).take_while(fits).count();
        let raw: VecDeque<Captured> = state.raw.drain(..chunk).collect();
        state.raw_bytes -= raw.iter().map(|raw| raw.ticket.size).sum::<usize>();
        state.taken.extend(raw.front().map(|first| first.ticket.number));
        raw
    }

    /// Puts back as encoded, or drops, what [`take_raw`](Self::take_raw) gave.
    pub(super) fn put_encoded(&self, results: Vec<(Ticket, Result<Bytes, DropReason>)>) {
        let mut state = self.state();
        if state.abandoned {
            return;
        }
        state.untake(results.first().map(|(first, _)| first.number));
        let mut evicted = Vec::new();
        for (ticket, result) in results {
            state.bytes -= ticket.size;
            match result {
                Ok(json) if json.len() > self.limits.event_bytes => {
                    let letter = DeadLetter::new(json, &Error::new(ErrorKind::TooLarge));
                    evicted.extend(state.bury(letter, &self.limits));
                }
                Ok(json) => {
                    state.bytes += json.len();
                    state.insert(Encoded { json, number: ticket.number });
                }
                Err(reason) => state.lose(1, reason),
            }
        }
        self.publish(&mut state);
        drop(state);
        drop(evicted);
    }

    /// Takes the next batch if it is full, or due though it is not.
    pub(super) fn take_batch(&self, batch_bytes: usize) -> Option<Vec<Encoded>> {
        let mut state = self.state();
        let first = state.encoded.front()?.number;
        let (mut count, mut bytes) = (0, ENVELOPE_BYTES);
        for event in state.encoded.iter().take(self.limits.batch_events) {
            bytes += event.json.len() + 1;
            if count > 0 && bytes > batch_bytes {
                break;
            }
            count += 1;
        }
        let full = count == self.limits.batch_events || bytes > batch_bytes;
        if !full && first >= state.due_to {
            return None;
        }
        state.taken.push(first);
        Some(state.encoded.drain(..count).collect())
    }

    pub(super) fn settle(&self, batch: &[Encoded], dropped: Option<DropReason>) {
        let mut state = self.state();
        if state.abandoned {
            return;
        }
        state.untake(batch.first().map(|first| first.number));
        state.bytes -= batch.iter().map(|event| event.json.len()).sum::<usize>();
        match dropped {
            None => state.ledger.deliver(batch.len() as u64),
            Some(reason) => state.lose(batch.len() as u64, reason),
        }
        self.publish(&mut state);
    }

    /// Puts a batch back in its place in the order.
    pub(super) fn give_back(&self, batch: Vec<Encoded>) {
        let mut state = self.state();
        if state.abandoned {
            return;
        }
        state.untake(batch.first().map(|first| first.number));
        batch.into_iter().for_each(|event| state.insert(event));
    }

    /// Divides a batch that is under way into two.
    pub(super) fn halve(&self, mut batch: Vec<Encoded>) -> (Vec<Encoded>, Vec<Encoded>) {
        let second = batch.split_off(batch.len() / 2);
        let mut state = self.state();
        if !state.abandoned {
            state.taken.extend(second.first().map(|first| first.number));
        }
        (batch, second)
    }

    /// Sets an event that is under way aside, with the reason. Tells how many dead letters had to go for it.
    pub(super) fn bury(&self, event: &Encoded, error: &Error) -> usize {
        let letter = DeadLetter::new(event.json.clone(), error);
        let mut state = self.state();
        if state.abandoned {
            return 0;
        }
        state.untake(Some(event.number));
        state.bytes -= event.json.len();
        let evicted = state.bury(letter, &self.limits);
        self.publish(&mut state);
        drop(state);
        evicted.len()
    }

    pub(crate) fn dead_letters(&self) -> Vec<DeadLetter> {
        self.state().dead.to_vec()
    }

    /// Queues the dead letters again, as long as there is room. Tells how many.
    pub(crate) fn replay_dead_letters(&self) -> u64 {
        let mut replayed = 0;
        let mut state = self.state();
        while state.closed.is_none() {
            let room = |bytes| {
                state.ledger.queued < self.limits.events as u64 && state.bytes + bytes <= self.limits.bytes
            };
            if !state.dead.next_bytes().is_some_and(room) {
                break;
            }
            let Some(letter) = state.dead.pop() else { break };
            state.ledger.revive();
            let number = state.next_number;
            state.next_number += 1;
            state.bytes += letter.event.len();
            state.insert(Encoded { json: letter.event, number });
            replayed += 1;
        }
        drop(state);
        self.flush();
        replayed
    }

    /// Drops the dead letters. Tells how many.
    pub(crate) fn discard_dead_letters(&self) -> u64 {
        let mut state = self.state();
        let discarded = std::mem::take(&mut state.dead);
        let count = state.ledger.dead_lettered;
        state.ledger.drop_dead(count, DropReason::DeadLetterDiscarded);
        drop(state);
        drop(discarded);
        count
    }

    /// Makes everything captured so far due, and tells the number that it goes up to.
    pub(super) fn make_due(&self) -> u64 {
        let mut state = self.state();
        state.due_to = state.due_to.max(state.next_number);
        state.due_to
    }

    /// Whether something waits that is not due yet.
    pub(super) fn lingers(&self) -> bool {
        let state = self.state();
        let last =
            state.raw.back().map(|raw| raw.ticket.number).or(state.encoded.back().map(|event| event.number));
        last.is_some_and(|last| last >= state.due_to)
    }

    /// Resolves when all events before `number` have met their end.
    pub(crate) async fn settled(&self, number: u64) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.settled_to.subscribe().wait_for(|settled| *settled >= number).await;
    }

    /// Asks that what is here now leaves now, and tells the number to wait for.
    pub(crate) fn flush(&self) -> u64 {
        let number = self.make_due();
        self.wake.notify_one();
        number
    }

    /// Ends admission. What is here becomes due. True for the first caller.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.state();
        let first = state.closed.is_none();
        state.closed.get_or_insert(DropReason::AfterShutdown);
        drop(state);
        self.flush();
        first
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed.is_some()
    }

    /// Ends admission and drops all that is left, batches under way included.
    pub(crate) fn abandon(&self) -> u64 {
        let mut state = self.state();
        state.abandoned = true;
        state.closed.get_or_insert(DropReason::AfterShutdown);
        let left = state.ledger.queued;
        state.lose(left, DropReason::Shutdown);
        let freed = (std::mem::take(&mut state.raw), std::mem::take(&mut state.encoded));
        state.taken.clear();
        (state.raw_bytes, state.bytes) = (0, 0);
        self.publish(&mut state);
        drop(state);
        drop(freed);
        left
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state().ledger.queued == 0
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.state().ledger
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let state = self.state();
        Snapshot {
            is_closed: state.closed.is_some(),
            fill: QueueFill {
                events: state.ledger.queued,
                capacity: self.limits.events as u64,
                bytes: state.bytes as u64,
                capacity_bytes: self.limits.bytes as u64,
            },
            ledger: state.ledger,
            last_loss: state.last_loss,
            last_burial: state.last_burial,
        }
    }

    /// Tells who waits that events met their end.
    fn publish(&self, state: &mut State) {
        if state.ledger.queued < self.limits.events as u64 / 2 && state.bytes < self.limits.bytes / 2 {
            state.overflowing = false;
        }
        let settled = state.settled_to();
        self.settled_to.send_if_modified(|to| std::mem::replace(to, settled) != settled);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

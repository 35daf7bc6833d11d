//! What the worker does with the queue: it takes events, encodes and sends them, and tells what became of
//! them. The queue keeps its own list of what the worker has, so nothing depends on the worker's coming back.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Queue;
use super::disk::Place;
use super::event::{Captured, Encoded, Ticket, UnderWay};
use crate::api::ENVELOPE_BYTES;
use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::ledger::DropReason;
use crate::{Error, ErrorKind};

impl Queue {
    /// Whether raw events must be encoded now: a full batch of them, or some that are due.
    pub(in crate::delivery) fn must_encode(&self) -> bool {
        let state = self.state();
        let Some(first) = state.raw.front().map(|raw| raw.ticket.number) else { return false };
        first < state.due_to.max(state.encode_to)
            || state.raw.len() >= self.limits.batch_events
            || state.raw_bytes >= self.limits.batch_bytes
    }

    /// Whether raw events wait that are to go to disk first.
    pub(in crate::delivery) fn gathers(&self) -> bool {
        let state = self.state();
        state.disk.write_ahead && !state.raw.is_empty()
    }

    /// Lets raw events wait no longer.
    pub(in crate::delivery) fn end_gathering(&self) {
        let mut state = self.state();
        state.encode_to = state.next_number;
    }

    pub(in crate::delivery) fn take_raw(&self) -> VecDeque<Captured> {
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
        let first = raw.front().map(|first| UnderWay { first: first.ticket.number, events: Vec::new() });
        state.under_way.extend(first);
        raw
    }

    /// Puts back as encoded, or drops, what [`take_raw`](Self::take_raw) gave; and as it is what there was no time for.
    pub(in crate::delivery) fn put_encoded(
        &self,
        results: Vec<(Ticket, Result<Bytes, DropReason>)>,
        rest: VecDeque<Captured>,
    ) {
        let mut state = self.state();
        if state.untake(results.first().map(|(first, _)| first.number)).is_none() {
            return;
        }
        for raw in rest.into_iter().rev() {
            state.raw_bytes += raw.ticket.size;
            state.raw.push_front(raw);
        }
        let mut evicted = Vec::new();
        let sizes = results.iter().filter_map(|(_, result)| Some(result.as_ref().ok()?.len()));
        state.sizes.encoded(sizes.map(|size| size.min(self.limits.event_bytes)));
        for (ticket, result) in results {
            let number = ticket.number;
            state.bytes -= ticket.size;
            match (result, state.disk.place(number)) {
                (Ok(json), _) if json.len() > self.limits.event_bytes => {
                    state.ledger.queued -= 1;
                    state.disk.tell(number, Err(DropReason::TooLarge));
                    let letter = DeadLetter::new(number, json, &Error::new(ErrorKind::TooLarge));
                    evicted.extend(state.bury(letter, &self.limits));
                }
                (Ok(_), Place::Refuse(reason)) | (Err(reason), _) => state.lose_queued(number, reason),
                (Ok(json), place) => {
                    state.bytes += json.len();
                    let event = Encoded::new(json, ticket);
                    match place {
                        Place::StoreFirst => state.outbox.push_back(event),
                        _ => state.insert(event),
                    }
                }
            }
        }
        self.publish(&mut state);
        drop(state);
        drop(evicted);
    }

    /// Takes the next batch that is full, or due though it is not: from the live events or from those that
    /// were read back from disk.
    pub(in crate::delivery) fn take_batch(
        &self,
        batch_bytes: usize,
        from_disk: bool,
    ) -> Option<Vec<Encoded>> {
        let mut state = self.state();
        let (due_to, first_number) = (state.due_to, state.first_number);
        let lane = if from_disk { &mut state.backlog } else { &mut state.encoded };
        let first = lane.front()?.number;
        let (mut count, mut bytes) = (0, ENVELOPE_BYTES);
        for event in lane.iter().take(self.limits.batch_events) {
            bytes += event.json.len() + 1;
            let is_of_another_process = (event.number < first_number) != (first < first_number);
            if count > 0 && (bytes > batch_bytes || is_of_another_process) {
                break;
            }
            count += 1;
        }
        let full = count == self.limits.batch_events || bytes > batch_bytes;
        if !full && first >= due_to && !from_disk {
            return None;
        }
        let batch: Vec<Encoded> = lane.drain(..count).collect();
        state.under_way.push(UnderWay { first, events: batch.clone() });
        if from_disk {
            self.wake_disk(&mut state);
        }
        Some(batch)
    }

    /// Ends a batch: delivered, or dropped for a reason.
    pub(in crate::delivery) fn settle(&self, batch: &[Encoded], dropped: Option<DropReason>) {
        let mut state = self.state();
        let Some(events) = state.untake(first(batch)) else { return };
        events.iter().for_each(|event| state.end(event));
        let on_disk = events.iter().filter(|event| event.stored).count() as u64;
        let ended = &mut state.disk.journal.ended;
        match dropped {
            None => {
                ended.delivered += on_disk;
                state.ledger.delivered += events.len() as u64;
            }
            Some(reason) => {
                ended.dropped.add(reason, on_disk);
                state.lose(events.len() as u64, reason);
            }
        }
        self.publish(&mut state);
    }

    /// Puts a batch back in its place in the order.
    pub(in crate::delivery) fn give_back(&self, batch: &[Encoded]) {
        self.put_back(batch, |_, _| ());
    }

    /// Puts a batch back that was tried in vain.
    pub(in crate::delivery) fn give_back_failed(&self, batch: &[Encoded]) {
        self.put_back(batch, |event, state| {
            event.attempts += 1;
            if event.stored {
                state.disk.journal.attempt(event.number, event.attempts);
            }
        });
    }

    fn put_back(&self, batch: &[Encoded], change: impl Fn(&mut Encoded, &mut super::State)) {
        let mut state = self.state();
        let Some(events) = state.untake(first(batch)) else { return };
        for mut event in events {
            change(&mut event, &mut state);
            state.insert(event);
        }
        self.publish(&mut state);
    }

    /// Divides a batch that is under way into two.
    pub(in crate::delivery) fn halve(&self, mut batch: Vec<Encoded>) -> (Vec<Encoded>, Vec<Encoded>) {
        let middle = batch.len() / 2;
        let mut state = self.state();
        if let Some(mut events) = state.untake(first(&batch)) {
            let second = events.split_off(middle);
            for events in [events, second] {
                state.under_way.extend(first(&events).map(|first| UnderWay { first, events }));
            }
        }
        drop(state);
        let second = batch.split_off(middle);
        (batch, second)
    }

    /// Makes everything captured so far due, and tells the number that it goes up to.
    pub(in crate::delivery) fn make_due(&self) -> u64 {
        let mut state = self.state();
        state.due_to = state.due_to.max(state.next_number);
        state.due_to
    }

    /// Whether something waits that is not due yet.
    pub(in crate::delivery) fn lingers(&self) -> bool {
        let state = self.state();
        let raw = state.raw.back().map(|raw| raw.ticket.number);
        let encoded = [&state.outbox, &state.encoded].map(|lane| lane.back().map(|event| event.number));
        encoded.into_iter().flatten().chain(raw).any(|last| last >= state.due_to)
    }

    /// Tells whether delivery stands still, so that what is in memory had better be on disk.
    pub(in crate::delivery) fn set_in_trouble(&self, in_trouble: bool) {
        let mut state = self.state();
        let changes = std::mem::replace(&mut state.disk.in_trouble, in_trouble) != in_trouble;
        if changes || state.disk.sleeps_through(&state.ledger) {
            self.wake_disk(&mut state);
        }
    }
}

fn first(batch: &[Encoded]) -> Option<u64> {
    batch.first().map(|first| first.number)
}

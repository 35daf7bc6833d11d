//! What the worker does with the queue: it takes batches, and tells what became of them. The queue keeps its own list of
//! what the worker has, so nothing depends on the worker's coming back.

use bytes::Bytes;

use super::{Queue, QueuedEvent};
use crate::Error;
use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::ledger::Account;

impl Queue {
    /// Resolves when there is something new for the worker to look at.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Takes the next batch that is full, or due though it is not: from the live events or from those that were read
    /// back from disk.
    pub fn take_batch(&self, batch_bytes: usize, from_disk: bool) -> Option<Vec<QueuedEvent>> {
        let mut state = self.state();
        let batch = state.take(batch_bytes, from_disk, &self.limits)?;
        if from_disk && state.wake_spool() {
            self.notify_spool();
        }
        Some(batch)
    }

    /// Ends a batch: delivered, or dropped for a reason.
    pub fn settle(&self, batch: &[QueuedEvent], end: Account) {
        let Some(first) = first(batch) else { return };
        let mut state = self.state();
        let settled = state.settle(first, end);
        self.publish(&mut state);
        drop(state);
        drop(settled);
    }

    /// Puts a batch back in its place in the order.
    pub fn give_back(&self, batch: &[QueuedEvent]) {
        self.put_back(batch, false);
    }

    /// Puts a batch back that was tried in vain.
    pub fn give_back_failed(&self, batch: &[QueuedEvent]) {
        self.put_back(batch, true);
    }

    /// What comes back may stay for long, and gets memory of its own: a slice would keep a whole chunk from being freed,
    /// most of which belongs to events that are gone.
    fn put_back(&self, batch: &[QueuedEvent], has_failed: bool) {
        let Some(first) = first(batch) else { return };
        let mut own: Vec<_> = batch.iter().map(|event| Bytes::copy_from_slice(&event.json)).collect();
        let mut state = self.state();
        state.give_back(first, &mut own, has_failed);
        self.publish(&mut state);
        drop(state);
        drop(own);
    }

    /// Divides a batch that is in flight into two.
    pub fn halve(&self, mut batch: Vec<QueuedEvent>) -> (Vec<QueuedEvent>, Vec<QueuedEvent>) {
        let middle = batch.len() / 2;
        if let Some(first) = first(&batch) {
            self.state().split(first, middle);
        }
        let second = batch.split_off(middle);
        (batch, second)
    }

    /// Sets an event aside that is in flight, with the reason. Tells how many dead letters had to go for it.
    pub fn dead_letter(&self, event: &QueuedEvent, error: &Error) -> usize {
        let letter = DeadLetter::new(event.seq, Bytes::copy_from_slice(&event.json), error);
        let mut state = self.state();
        let evicted = state.set_aside(letter, &self.limits);
        self.publish(&mut state);
        drop(state);
        evicted.map_or(0, |evicted| evicted.len())
    }

    /// Makes everything captured so far due, and tells the place that it goes up to.
    pub fn make_due(&self) -> u64 {
        self.state().make_due()
    }

    /// Whether something waits that is not due yet.
    pub fn lingers(&self) -> bool {
        self.state().lingers()
    }

    /// Tells whether delivery stands still, so that what is in memory had better be on disk.
    pub fn set_in_trouble(&self, in_trouble: bool) {
        if self.state().set_in_trouble(in_trouble) {
            self.notify_spool();
        }
    }
}

fn first(batch: &[QueuedEvent]) -> Option<u64> {
    batch.first().map(|first| first.seq)
}

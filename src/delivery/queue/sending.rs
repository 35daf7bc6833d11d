//! What the worker does with the queue: it takes batches, and tells what became of them. The queue keeps its own list of
//! what the worker has, so nothing depends on the worker's coming back.

use std::ops::Range;

use bytes::Bytes;
use tokio::time::timeout_at;

use super::memory::group;
use super::{EventEnd, Queue, QueuedEvent, State};
use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::ledger::Account;

impl Queue {
    /// Resolves when there is something new for the worker to look at, or when what it looks at has changed with time.
    pub async fn woken(&self) {
        match self.look(State::trouble_changes_at) {
            Some(at) => drop(timeout_at(at, self.wake.notified()).await),
            None => self.wake.notified().await,
        }
    }

    /// Resolves when what is in memory only is on disk, as after [`close`](Self::close), or when the disk does not take it.
    /// The worker must have ended.
    pub async fn stored(&self) {
        while self.look(State::is_being_stored) {
            self.wake.notified().await;
        }
    }

    /// Tells that the worker is driven.
    pub fn beat(&self) {
        self.heartbeat.beat();
    }

    /// Ends a batch: delivered, or dropped for a reason.
    pub fn settle(&self, batch: &[QueuedEvent], end: Account) {
        drop(self.step(|state| state.settle(first(batch), end)));
    }

    /// Puts a batch back in its place in the order.
    pub fn give_back(&self, batch: &[QueuedEvent]) {
        self.put_back(batch, false);
    }

    /// Puts a batch back that was tried in vain.
    pub fn give_back_failed(&self, batch: &[QueuedEvent]) {
        self.put_back(batch, true);
    }

    fn put_back(&self, batch: &[QueuedEvent], has_failed: bool) {
        let mut own = copies(batch);
        self.step(|state| state.give_back(first(batch), &mut own, has_failed));
    }

    /// Gives a batch that stays in flight for long memory of its own.
    pub fn detach(&self, batch: &mut [QueuedEvent]) {
        let mut own = copies(batch);
        batch.iter_mut().zip(&own).for_each(|(event, own)| event.json = own.clone());
        self.step(|state| state.detach(first(batch), &mut own));
    }

    /// Ends a batch whose events end differently. Gives back those that are sent again, as a batch of their own that is in
    /// flight, and tells how many dead letters had to go.
    pub fn settle_each(&self, batch: Vec<QueuedEvent>, ends: Vec<EventEnd>) -> (Vec<QueuedEvent>, usize) {
        let is_again = |(event, end): (QueuedEvent, &EventEnd)| match end {
            EventEnd::Again { unanswered } => Some(QueuedEvent { unanswered: *unanswered, ..event }),
            _ => None,
        };
        let name = first(&batch);
        let again = batch.into_iter().zip(&ends).filter_map(is_again).collect();
        let freed = self.step(|state| state.settle_each(name, ends));
        (again, freed.map_or(0, |(_, evicted)| evicted.len()))
    }

    /// Divides a batch that is in flight into several: each of its events goes to the group with this number.
    pub fn divide(&self, batch: Vec<QueuedEvent>, groups: &[usize]) -> Vec<Vec<QueuedEvent>> {
        self.step(|state| state.divide(first(&batch), groups));
        group(batch, groups)
    }

    /// Divides a batch that is in flight into two: the events in this range, and the rest.
    pub fn split(
        &self,
        batch: Vec<QueuedEvent>,
        range: Range<usize>,
    ) -> (Vec<QueuedEvent>, Vec<QueuedEvent>) {
        let groups: Vec<_> = (0..batch.len()).map(|at| usize::from(!range.contains(&at))).collect();
        let mut halves = self.divide(batch, &groups).into_iter();
        (halves.next().unwrap_or_default(), halves.next().unwrap_or_default())
    }

    /// Sets an event aside that is in flight. Tells how many dead letters had to go for it.
    pub fn dead_letter(&self, letter: DeadLetter) -> usize {
        self.step(|state| state.set_aside(letter)).map_or(0, |evicted| evicted.len())
    }
}

/// The name of a batch between worker and queue. No batch is empty; an empty one has the name of none.
fn first(batch: &[QueuedEvent]) -> u64 {
    batch.first().map_or(u64::MAX, |first| first.seq)
}

/// The JSON of events that may stay for long, in memory of its own: a slice would keep a whole chunk from being freed, most
/// of which belongs to events that are gone.
fn copies(batch: &[QueuedEvent]) -> Vec<Bytes> {
    batch.iter().map(|event| Bytes::copy_from_slice(&event.json)).collect()
}

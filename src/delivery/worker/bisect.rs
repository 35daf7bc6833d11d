use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::delivery::queue::QueuedEvent;

/// Events that travel in one request.
#[derive(Debug)]
pub struct Part {
    pub events: Vec<QueuedEvent>,
    /// The rejected batch that it is a part of, if it is one.
    pub case: Option<Case>,
}

/// What the parts of one rejected batch share: how often in a row they were rejected. The worker's task alone counts.
#[derive(Clone, Debug, Default)]
pub struct Case(Arc<AtomicU32>);

/// One poisoned event in a hundred is found after eight rejections in a row at most. After twice as many
/// without a single event taken it is no accident but a wrong schema, and looking on would cost two requests
/// an event.
const HOPELESS: u32 = 16;

impl Case {
    /// True when it is hopeless to look on.
    pub fn rejected(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) + 1 >= HOPELESS
    }

    pub fn accepted(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Parts of rejected batches: those that wait to be sent, the latest half first, so that a poisoned event
/// stands alone after at most 2·log₂(n) + 1 requests, the rejected batch's own included; and those that are
/// parked because all that was tried was rejected. Of the parked ones, one a pause is tried again.
#[derive(Debug, Default)]
pub struct Suspects {
    waiting: Vec<Part>,
    parked: Vec<Vec<QueuedEvent>>,
    retry_at: Option<Instant>,
}

impl Suspects {
    pub fn push(&mut self, events: Vec<QueuedEvent>, case: Case) {
        self.waiting.push(Part { events, case: Some(case) });
    }

    pub fn pop(&mut self) -> Option<Part> {
        if self.retry_at.is_some_and(|at| at <= Instant::now()) {
            self.retry_at = None;
            let scout = self.parked.pop();
            scout.into_iter().for_each(|events| self.push(events, Case::default()));
        }
        self.waiting.pop()
    }

    /// While something is parked, what is rejected anew is parked too, and not searched.
    pub fn are_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// When the next parked part is due.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Parks these events and all that waits of their batch.
    pub fn park(&mut self, events: Vec<QueuedEvent>, case: &Case, pause: Duration) {
        let is_of_it = |part: &mut Part| part.case.as_ref().is_some_and(|other| other.is(case));
        let rest: Vec<_> = self.waiting.extract_if(.., is_of_it).map(|part| part.events).collect();
        self.parked.extend(rest);
        self.parked.push(events);
        self.rest(pause);
    }

    /// Something of a rejected batch was taken: all that is parked may be searched again.
    pub fn unpark(&mut self) {
        self.retry_at = None;
        let parked = std::mem::take(&mut self.parked);
        parked.into_iter().for_each(|events| self.push(events, Case::default()));
    }

    /// Waits a pause before the next parked part is tried.
    pub fn rest(&mut self, pause: Duration) {
        if self.are_parked() && self.waiting.is_empty() && self.retry_at.is_none() {
            self.retry_at = Instant::now().checked_add(pause);
        }
    }
}

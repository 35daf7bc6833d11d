use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::queue::Encoded;

/// Events that travel in one request.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) events: Vec<Encoded>,
    /// The rejected batch that it is a part of, if it is one.
    pub(super) case: Option<Case>,
}

/// What the parts of one rejected batch share: how many poisoned events were found in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Case(Arc<AtomicU32>);

/// So many poisoned events in one batch are no accident but a wrong schema. Looking for all of them would
/// cost two requests an event.
const SYSTEMIC: u32 = 3;

impl Case {
    /// Another poisoned event was found. True when it is systemic.
    pub(super) fn found_poison(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) + 1 >= SYSTEMIC
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Parts of rejected batches that wait to be sent, the latest half first: a poisoned event stands alone
/// after at most 2·log₂(n) + 1 requests, the rejected batch's own included.
#[derive(Debug, Default)]
pub(super) struct Suspects(Vec<Part>);

impl Suspects {
    pub(super) fn push(&mut self, events: Vec<Encoded>, case: Case) {
        self.0.push(Part { events, case: Some(case) });
    }

    pub(super) fn pop(&mut self) -> Option<Part> {
        self.0.pop()
    }

    /// Takes out all that is left of one batch.
    pub(super) fn close(&mut self, case: &Case) -> Vec<Part> {
        let is_of_it = |part: &mut Part| part.case.as_ref().is_some_and(|other| other.is(case));
        self.0.extract_if(.., is_of_it).collect()
    }
}

use std::collections::VecDeque;

use super::event::{Captured, Encoded};
use super::limits::{Limits, Overflow};
use super::state::State;
use crate::delivery::ledger::DropReason;

/// What had to make room for an event.
pub(super) type Evicted = Vec<(Option<Encoded>, Option<Captured>)>;

impl State {
    /// Whether one more event of this size has room in memory.
    pub(super) fn has_room(&self, size: usize, limits: &Limits) -> bool {
        self.in_memory() < limits.events as u64 && self.bytes + size <= limits.bytes
    }

    /// Makes room for a new event: forgets what is on disk too, and drops the oldest if that is the policy.
    /// Gives back what is to be freed outside the lock.
    pub(super) fn make_room(&mut self, size: usize, limits: &Limits) -> Evicted {
        let mut evicted = Vec::new();
        while !self.has_room(size, limits) {
            if self.has_copies() {
                self.release_copies();
            } else if limits.overflow == Overflow::DropNewest {
                break;
            } else if let Some(oldest) = self.encoded.pop_front() {
                self.bytes -= oldest.json.len();
                self.lose_queued(oldest.number, DropReason::QueueFull);
                evicted.push((Some(oldest), None));
            } else if let Some(oldest) = self.raw.pop_front() {
                self.raw_bytes -= oldest.ticket.size;
                self.bytes -= oldest.ticket.size;
                self.lose_queued(oldest.ticket.number, DropReason::QueueFull);
                evicted.push((None, Some(oldest)));
            } else {
                break;
            }
        }
        evicted
    }

    /// Whether live events are on disk too.
    fn has_copies(&self) -> bool {
        let taken = self.under_way.iter().flat_map(|taken| &taken.events).filter(|event| event.stored);
        self.held > 0 && self.held > (self.backlog.len() + taken.count()) as u64
    }

    /// Forgets the live events that are on disk too. Gives them back to be freed outside the lock.
    pub(super) fn release_copies(&mut self) -> VecDeque<Encoded> {
        let (copies, others): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.encoded).into_iter().partition(|event| event.stored);
        self.encoded = others;
        copies.iter().for_each(|copy| self.release(copy));
        copies
    }
}

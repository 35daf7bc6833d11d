//! What the spool's thread does with the queue: it takes what is to be written, and tells what became of it. Events that
//! are being written stay where they are; they may be sent and settled meanwhile.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{Queue, Read, SpoolIssue, SpoolWork};
use crate::delivery::spool::{Applied, Fill};

impl Queue {
    /// Tells that the spool does not work: everything goes on in memory.
    pub fn spool_failed(&self, issue: SpoolIssue) {
        self.step(|state| state.spool_failed(issue));
    }

    /// Waits until the spool has something to do, or for as long as that.
    pub fn next_work(&self, longest: Duration) -> Option<SpoolWork> {
        let until = Instant::now() + longest;
        let mut state = self.state();
        loop {
            let now = Instant::now();
            if let Some(work) = state.next_work(now) {
                return Some(work);
            }
            if now >= until {
                return None;
            }
            let wait = state.sleep(now).min(until.saturating_duration_since(now));
            let woken = self.spool_wake.wait_timeout(state, wait);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            state.spool.wake();
        }
    }

    /// Tells what a round of work came to. `None`: nothing is known to be written.
    pub fn finish_work(&self, work: SpoolWork, applied: Option<Applied>, read: Read, fill: Fill) {
        let (waiters, _copies) = self.step(|state| state.finish_work(&work, applied, read, fill));
        waiters.into_iter().for_each(|waiter| {
            let _ = waiter.send(Ok(()));
        });
    }
}

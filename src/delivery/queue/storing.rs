//! What the spool's thread does with the queue: it takes what is to be written, and tells what became of it. Events that
//! are being written stay where they are; they may be sent and settled meanwhile.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{Queue, Read, SpoolIssue, SpoolWork};
use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::ledger::Totals;
use crate::delivery::spool::{Applied, Contents, Fill};

impl Queue {
    /// Tells that there will be a spool of that size.
    pub fn expect_spool(&self, capacity_bytes: u64) {
        self.state().expect_spool(capacity_bytes);
    }

    /// Tells that the spool is open for the first time, and what was found there.
    pub fn spool_opened(&self, contents: Contents, fill: Fill, write_ahead: bool) {
        let mut state = self.state();
        let evicted = state.spool_opened(contents, fill, write_ahead, &self.limits);
        self.publish(&mut state);
        drop(state);
        drop(evicted);
    }

    /// Tells that the spool works again, and which of what is in memory it still has.
    pub fn spool_recovered(&self, has: impl Fn(u64) -> bool) {
        let mut state = self.state();
        state.spool_recovered(has);
        self.publish(&mut state);
    }

    /// Tells what a person should look at though the spool works, if anything.
    pub fn spool_noticed(&self, issue: Option<SpoolIssue>) {
        self.state().noticed(issue);
    }

    /// Tells how full the spool is.
    pub fn spool_measured(&self, fill: Fill) {
        self.state().measured(fill);
    }

    /// Tells that the spool does not work: everything goes on in memory.
    pub fn spool_failed(&self, issue: SpoolIssue) {
        let mut state = self.state();
        state.spool_failed(issue);
        self.publish(&mut state);
        drop(state);
        self.wake.notify_one();
    }

    /// Waits until the spool has something to do, or for as long as that.
    pub fn next_work(&self, longest: Duration) -> Option<SpoolWork> {
        let until = Instant::now() + longest;
        let mut state = self.state();
        loop {
            let now = Instant::now();
            if let Some(work) = state.next_work(&self.limits, now) {
                return Some(work);
            }
            if now >= until {
                return None;
            }
            let wait = state.sleep(now).min(until.saturating_duration_since(now));
            let woken = self.spool_wake.wait_timeout(state, wait);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            state.wake_spool();
        }
    }

    /// Tells what a round of work came to. `None`: nothing is known to be written.
    pub fn finish_work(&self, work: SpoolWork, applied: Option<Applied>, read: Read, fill: Fill) {
        let mut state = self.state();
        let waiters = state.finish_work(&work, applied, read, fill);
        let copies = state.relieve(&self.limits);
        self.publish(&mut state);
        drop(state);
        drop(copies);
        if work.changes.is_some() || work.load.is_some() {
            self.wake.notify_one();
        }
        waiters.into_iter().for_each(|waiter| {
            let _ = waiter.send(Ok(()));
        });
    }

    /// The counts that the next write is to keep.
    pub fn totals(&self) -> Totals {
        self.state().totals_on_disk()
    }

    /// The place of the first event that this process captured.
    pub fn first_seq(&self) -> u64 {
        self.state().first_seq()
    }

    /// Counts what was taken over from another process's file and written to ours.
    pub fn take_over(&self, counts: &Totals, applied: &Applied, letters: Vec<DeadLetter>) {
        let evicted = self.state().take_over(counts, applied, letters, &self.limits);
        drop(evicted);
    }
}

//! What the spool's thread does with the queue: it takes what is to be written, and tells what became of it. Events that
//! are being written stay where they are; they may be sent and settled meanwhile.

use std::time::Duration;

use super::spool_link::Watch;
use super::{Queue, Read, SpoolIssue, SpoolWork, State};
use crate::delivery::spool::{Applied, Fill};
use crate::rt::{clock, target};

impl Queue {
    /// Tells that the spool does not work: everything goes on in memory.
    pub fn spool_failed(&self, issue: SpoolIssue) {
        self.step(|state| state.spool_failed(issue));
    }

    /// Waits until the spool has something to do, or for as long as that.
    pub fn next_work(&self, longest: Duration) -> Option<SpoolWork> {
        let until = clock::now() + longest;
        let mut state = self.state();
        loop {
            let now = clock::now();
            if let Some(work) = state.next_work(now) {
                return Some(work);
            }
            if now >= until || state.spool.is_called() {
                return None;
            }
            let wait = state.sleep(now).min(until.saturating_duration_since(now));
            state = self.spool_wake.wait(&self.state, state, wait);
            state.spool.wake();
        }
    }

    /// Waits for a [call](Self::call_spool), or for as long as that.
    pub fn wait_for_call(&self, longest: Duration) {
        let until = clock::now() + longest;
        let mut state = self.state();
        while !state.spool.is_called() {
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                return;
            }
            state = self.spool_wake.wait(&self.state, state, left);
        }
    }

    /// Ends the wait for work: something else is there for the spool's thread.
    pub fn call_spool(&self) {
        self.step(|state| state.spool.call());
        self.spool_wake.notify_one();
    }

    /// Asks the disk for something. It has answered when the result is dropped.
    pub fn disk_round(&self) -> DiskRound<'_> {
        if self.step(|state| state.spool.begin_round(clock::now())) {
            self.watch_wake.notify_one();
        }
        DiskRound(self)
    }

    /// The thread that asks the disk has ended.
    pub fn disk_ended(&self) {
        self.step(|state| state.spool.end());
        self.watch_wake.notify_one();
    }

    /// Watches the disk until the thread that asks it has ended, or hangs though everything else has ended: false then.
    pub fn watch_disk(&self, log: impl Fn()) -> bool {
        let mut state = self.state();
        loop {
            let wait = match state.watch_disk(clock::now()) {
                Watch::End => return state.spool.has_ended(),
                Watch::GiveUp { is_news } => {
                    self.conclude(state);
                    if is_news {
                        log();
                    }
                    state = self.state();
                    continue;
                }
                Watch::LookAfter(wait) => wait,
                Watch::Sleep => Duration::MAX,
            };
            state = self.watch_wake.wait(&self.state, state, wait);
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

/// A question to the disk that it has not answered yet.
pub struct DiskRound<'a>(&'a Queue);

impl Drop for DiskRound<'_> {
    fn drop(&mut self) {
        if self.0.step(State::end_disk_round) {
            tracing::info!(target: target::SPOOL, "the spool's disk answers again");
        }
    }
}

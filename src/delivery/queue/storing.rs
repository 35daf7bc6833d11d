//! What the spool's thread does with the queue: it takes what is to be written, and tells what became of it.
//! Events that are being written stay where they are; they may be sent and settled meanwhile.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::disk::{DiskState, Sleep};
use super::event::Captured;
use super::spool_health::SpoolIssue;
use super::turn::{Read, SETTLE_EVERY, Turn};
use super::{DropReason, Queue};
use crate::delivery::dead_letter::DeadLetter;
use crate::delivery::event::AnyEvent;
use crate::delivery::ledger::Totals;
use crate::delivery::spool::{Applied, Contents, Fill};

impl Queue {
    /// Captures an event and tells when it is on disk, or why it was dropped instead.
    pub(crate) async fn capture_durable(&self, event: impl Into<AnyEvent>) -> Result<(), DropReason> {
        let (waiter, told) = oneshot::channel();
        self.enter(Captured::now(event), &mut Some(waiter));
        told.await.unwrap_or(Err(DropReason::Shutdown))
    }

    /// Tells that there will be a spool of that size.
    pub(in crate::delivery) fn expect_disk(&self, capacity_bytes: u64) {
        let mut state = self.state();
        state.disk.state = DiskState::Opening;
        state.disk.capacity_bytes = capacity_bytes;
    }

    /// Tells that the spool is open for the first time, and what was found there.
    pub(in crate::delivery) fn disk_opened(&self, contents: Contents, fill: Fill, write_ahead: bool) {
        let mut state = self.state();
        state.inherit(&contents.totals, fill.events);
        let before = std::mem::take(&mut state.dead).into_vec();
        state.ledger.dead_lettered -= before.len() as u64;
        let letters = contents.dead.into_iter().map(|(_, letter)| letter).chain(before);
        let evicted = state.take_letters(letters, &self.limits);
        if contents.crashed > 0 {
            state.last_loss = Some(tokio::time::Instant::now());
            state.found_lost += contents.crashed;
        }
        state.disk.filled(fill);
        state.disk.write_ahead = write_ahead;
        state.disk.state = DiskState::Ready;
        self.publish(&mut state);
        drop(state);
        drop(evicted);
    }

    /// Tells that the spool works again, and which of what is in memory it still has: the file may have been
    /// put back to an earlier state, or made anew.
    pub(in crate::delivery) fn disk_recovered(&self, has: impl Fn(u64) -> bool) {
        let mut state = self.state();
        state.disk.state = DiskState::Ready;
        state.unstore(|number| !has(number));
        // A write comes first, and tells how much there is.
        state.disk.journal.since = Instant::now().checked_sub(SETTLE_EVERY);
        self.publish(&mut state);
    }

    /// Tells what a person should look at though the spool works, if anything.
    pub(in crate::delivery) fn disk_noticed(&self, issue: Option<SpoolIssue>) {
        self.state().disk.issue = issue;
    }

    /// Tells how full the spool is.
    pub(in crate::delivery) fn disk_filled(&self, fill: Fill) {
        self.state().disk.filled(fill);
    }

    /// Tells that the spool does not work: everything goes on in memory.
    pub(in crate::delivery) fn disk_failed(&self, issue: SpoolIssue) {
        let mut state = self.state();
        state.disk.state = DiskState::Failing;
        state.disk.issue = Some(issue);
        state.empty_outbox(DropReason::SpoolUnavailable);
        self.publish(&mut state);
        drop(state);
        self.wake.notify_one();
    }

    /// Waits until the spool has something to do, or for as long as that.
    pub(in crate::delivery) fn next_turn(&self, longest: Duration) -> Option<Turn> {
        let until = Instant::now() + longest;
        let mut state = self.state();
        loop {
            let now = Instant::now();
            if let Some(turn) = state.turn(&self.limits, now) {
                return Some(turn);
            }
            if now >= until {
                return None;
            }
            let (sleep, wait) = state.next_look();
            state.disk.sleep = sleep;
            let wait = wait.min(until.saturating_duration_since(now));
            let woken = self.disk_wake.wait_timeout(state, wait);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            state.disk.sleep = Sleep::Awake;
        }
    }

    /// Tells what a turn came to. `None`: nothing is known to be written.
    pub(in crate::delivery) fn finish_turn(
        &self,
        turn: Turn,
        applied: Option<Applied>,
        read: Read,
        fill: Fill,
    ) {
        let mut waiters = Vec::new();
        let mut state = self.state();
        let failed = turn.changes.is_some() && applied.is_none();
        if turn.load.is_some() && !failed {
            state.read(read);
        }
        match (&turn.changes, applied) {
            (Some(changes), Some(applied)) => {
                waiters = state.written(changes, &applied);
                state.reconcile(fill);
            }
            (Some(changes), None) => state.unwritten(changes),
            (None, _) => {}
        }
        let copies = if state.is_over_half(&self.limits) { state.release_copies() } else { VecDeque::new() };
        state.disk.filled(fill);
        self.publish(&mut state);
        drop(state);
        drop(copies);
        if turn.changes.is_some() || turn.load.is_some() {
            self.wake.notify_one();
        }
        waiters.into_iter().for_each(|waiter| {
            let _ = waiter.send(Ok(()));
        });
    }

    /// The counts that the next write is to keep.
    pub(in crate::delivery) fn totals(&self) -> Totals {
        self.state().totals_on_disk()
    }

    /// The number of the first event that this process captured.
    pub(in crate::delivery) fn first_number(&self) -> u64 {
        self.state().first_number
    }

    /// Counts what was taken over from another process's file and written to ours.
    pub(in crate::delivery) fn adopted(&self, counts: &Totals, applied: &Applied, letters: Vec<DeadLetter>) {
        let mut state = self.state();
        state.inherit(counts, applied.written as u64);
        state.count_evicted(applied);
        let evicted = state.take_letters(letters, &self.limits);
        drop(state);
        drop(evicted);
    }
}

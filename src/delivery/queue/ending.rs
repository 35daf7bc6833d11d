//! How events are waited for, and how everything ends.

use super::Queue;
use crate::delivery::ledger::DropReason;

impl Queue {
    /// Resolves when all events before `number` have met their end.
    pub(crate) async fn settled(&self, number: u64) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.settled_to.subscribe().wait_for(|settled| *settled >= number).await;
    }

    /// Asks that what is here now leaves now, and tells the number to wait for.
    pub(crate) fn flush(&self) -> u64 {
        let number = self.make_due();
        self.publish(&mut self.state());
        self.wake.notify_one();
        number
    }

    /// Ends admission. What is here becomes due, but for what lies on disk anyway. True for the first caller.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.state();
        let first = state.closed.is_none();
        state.closed.get_or_insert(DropReason::AfterShutdown);
        let on_disk = std::mem::take(&mut state.backlog);
        on_disk.iter().for_each(|event| state.release(event));
        self.publish(&mut state);
        self.wake_disk(&mut state);
        drop(state);
        self.flush();
        first
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed.is_some()
    }

    /// Ends admission, and drops all that is left in memory only, batches under way included. Tells how many
    /// events that were.
    pub(crate) fn abandon(&self) -> u64 {
        let mut state = self.state();
        state.abandoned = true;
        state.closed.get_or_insert(DropReason::AfterShutdown);
        let left = std::mem::take(&mut state.ledger.queued);
        state.lose(left, DropReason::Shutdown);
        let waiters = std::mem::take(&mut state.disk.waiters);
        let freed = state.clear();
        self.publish(&mut state);
        self.wake_disk(&mut state);
        drop(state);
        drop(freed);
        waiters.into_values().for_each(|waiter| {
            let _ = waiter.send(Err(DropReason::Shutdown));
        });
        left
    }

    /// Whether nothing is left to send: nothing in memory, or, while delivery stands still, nothing that is
    /// not on disk.
    pub(crate) fn is_done(&self) -> bool {
        let state = self.state();
        state.in_memory() == 0 || (state.disk.in_trouble && state.ledger.queued == 0)
    }
}

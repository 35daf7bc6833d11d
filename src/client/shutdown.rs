use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Inner, PostHog};
use crate::delivery::{Ledger, Queue};
use crate::rt::{target, within};

impl PostHog {
    /// Sends the events captured so far without waiting for full batches, including those that [the SDK](Self::sdk) made.
    /// Resolves when each of them is delivered or has ended otherwise, at the latest after the
    /// [flush timeout](crate::PostHogBuilder::flush_timeout).
    ///
    /// Events captured meanwhile may be sent along, but `flush` does not wait for them, nor for events that other processes
    /// left in a spool. A pending retry does not run earlier.
    ///
    /// ```
    /// # use posthog_health::{Event, PostHog, testing::FakePostHog};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = FakePostHog::start();
    /// # let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build()?;
    /// posthog.capture(Event::new("report built", "cron"));
    /// posthog.flush().await?; // at the end of a job, or in a test
    /// assert_eq!(posthog.stats().delivered, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`FlushTimeout`] if some events are not delivered yet. They stay queued.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the wait, not the delivery.
    pub async fn flush(&self) -> Result<(), FlushTimeout> {
        let deadline = Instant::now() + self.settings().flush_timeout;
        let is_all_here = match self.running() {
            Some(running) => running.sdk.drain(Some(deadline)).await,
            None => true,
        };
        let number = self.inner.queue.flush();
        match timeout_at(deadline, self.inner.queue.settled(number)).await {
            Ok(()) if is_all_here => Ok(()),
            _ => {
                let Ledger { queued, spooled, .. } = self.inner.queue.ledger();
                Err(FlushTimeout { undelivered: queued + spooled })
            }
        }
    }

    /// Ends the client: it accepts no more events, delivers what it can within `deadline`, and drops and counts the rest.
    ///
    /// Returns at the deadline at the latest, whatever PostHog does. Afterwards no task, thread or connection of the client
    /// is left, with one exception: a thread that a hung disk blocks, or that checks a large file of another process. Other handles stay usable and drop what they capture.
    ///
    /// With a spool, the remaining events are on disk within moments and wait there for the next start, unless the disk
    /// fails, is full, or its file is still being checked. While delivery pauses, or nothing was delivered for two seconds
    /// though something is due, the call returns as soon as they are on disk. A disk that hangs is not waited for: what memory
    /// holds is delivered. The last quarter of the deadline, at most half a second, is reserved for the last write.
    ///
    /// Events that [the SDK](Self::sdk) still holds come first. They get at most a quarter of the deadline, which is
    /// thousands of times what they need.
    ///
    /// Pass what your orchestrator's grace period leaves, 5 s if in doubt.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use posthog_health::{Event, PostHog, testing::FakePostHog};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = FakePostHog::start();
    /// # let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build()?;
    /// posthog.capture(Event::new("service stopped", "shop"));
    /// let report = posthog.shutdown(Duration::from_secs(5)).await; // last, when nothing can capture any more
    /// assert_eq!((report.delivered, report.undelivered), (1, 0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the client stays closed for new events and goes on draining. Call `shutdown` again to
    /// end it.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let started = Instant::now();
        let before = self.inner.queue.own_totals();
        let _closing = CloseOnDrop(&self.inner.queue);
        if let Some(running) = self.running() {
            running.sdk.drain(started.checked_add(deadline / 4)).await;
        }
        let first = self.inner.queue.close();
        let mut undelivered = 0;
        if let Some(running) = self.running() {
            running.sdk.end();
            let drained = deadline - running.last_write(deadline);
            running.stop(started.checked_add(drained)).await;
            // Without a worker, because its runtime ended, the disk may need another moment.
            within(started.checked_add(drained), self.inner.queue.stored()).await;
            undelivered = self.inner.queue.abandon();
            running.stop_spool(started.checked_add(deadline)).await;
            running.sdk.ended(started.checked_add(deadline)).await;
            running.end_monitor();
            running.monitor_ended().await;
        }
        let after = self.inner.queue.own_totals();
        let ledger = self.inner.queue.ledger();
        let report = ShutdownReport {
            delivered: after.delivered.saturating_sub(before.delivered),
            undelivered,
            dropped: after.dropped.total().saturating_sub(before.dropped.total() + undelivered),
            spooled: ledger.spooled,
            dead_letters: ledger.dead_lettered,
        };
        if first {
            let _named = self.running().map(|running| running.span.enter());
            let ShutdownReport { delivered, undelivered, spooled, dead_letters, .. } = report;
            let lost = after.dropped.lost().saturating_sub(before.dropped.lost());
            if lost + dead_letters == 0 {
                tracing::info!(
                    target: target::CLIENT,
                    delivered,
                    spooled,
                    took = ?started.elapsed(),
                    "shut down"
                );
            } else {
                tracing::warn!(
                    target: target::CLIENT,
                    delivered,
                    spooled,
                    undelivered,
                    lost,
                    dead_letters,
                    "shut down, not everything was delivered"
                );
            }
        }
        report
    }
}

/// Closes the queue even if the future that holds this is dropped first.
struct CloseOnDrop<'a>(&'a Queue);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(running) = &self.running else { return };
        running.abort();
        let lost = self.queue.abandon();
        running.end_monitor();
        if lost > 0 {
            let _named = running.span.enter();
            tracing::warn!(
                target: target::CLIENT,
                lost,
                "dropped without shutdown: undelivered events are lost"
            );
        }
    }
}

/// The result of [`PostHog::shutdown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Events delivered since the call.
    pub delivered: u64,
    /// Events that were still in memory at the deadline. They are lost to this process, though PostHog may have received
    /// some of them. Counted as [`DropReason::Shutdown`](crate::DropReason::Shutdown).
    pub undelivered: u64,
    /// Events dropped for other reasons since the call.
    pub dropped: u64,
    /// Events that wait on disk for the next start.
    pub spooled: u64,
    /// Dead letters. Without a spool they are lost with the process unless they are
    /// [exported](PostHog::dead_letters).
    pub dead_letters: u64,
}

/// [`PostHog::flush`] ran out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("flush timed out with {undelivered} events undelivered: they are kept, and health() says why")]
#[non_exhaustive]
pub struct FlushTimeout {
    /// Events in memory or on disk now.
    pub undelivered: u64,
}

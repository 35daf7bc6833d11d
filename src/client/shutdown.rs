use std::fmt;
use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::running::Running;
use super::{Inner, PostHog};
use crate::delivery::{Queue, Snapshot};
use crate::rt::{foreign, lock, target, within};

impl PostHog {
    /// Sends the events captured so far without waiting for full batches, including those that [the SDK](Self::sdk) made.
    /// Resolves when each of them is delivered or has ended otherwise, at the latest after the
    /// [flush timeout](crate::PostHogBuilder::flush_timeout), and at once when nobody delivers.
    ///
    /// `Ok` means that nothing was lost since the client was built or last flushed, so a job may report success.
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
    /// [`FlushError`] if some events are not delivered yet, which stay queued, or if some were lost or became dead letters
    /// since the previous flush: over quota, for example. Each of these is reported once. Events that you asked to drop are
    /// no losses ([`DropReason::is_intended`](crate::DropReason::is_intended)).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the wait, not the delivery.
    pub async fn flush(&self) -> Result<(), FlushError> {
        let deadline = Instant::now() + self.settings().flush_timeout;
        let reported = *lock(&self.inner.reported);
        let failure = tokio::select! {
            biased;
            is_done = self.flushed(deadline) => (!is_done).then_some(FlushFailure::TimedOut),
            () = self.worker_stopped() => Some(FlushFailure::WorkerStopped),
        };
        let (Losses { lost, set_aside }, snapshot) = self.losses_since(reported);
        let undelivered =
            if failure.is_some() { snapshot.ledger.queued + snapshot.ledger.spooled } else { 0 };
        let has_losses = lost + set_aside > 0;
        match failure.or(has_losses.then_some(FlushFailure::NotDelivered)) {
            Some(reason) => Err(FlushError { reason, undelivered, lost, set_aside }),
            None => Ok(()),
        }
    }

    /// Whether all that was captured so far met its end before the deadline.
    async fn flushed(&self, deadline: Instant) -> bool {
        let is_all_here = match self.running() {
            Some(running) => running.sdk.drain(Some(deadline)).await,
            None => true,
        };
        let seq = self.inner.queue.flush();
        timeout_at(deadline, self.inner.queue.settled(seq)).await.is_ok() && is_all_here
    }

    /// Resolves when the worker has ended or nobody drives it.
    async fn worker_stopped(&self) {
        let Some(Running { worker, .. }) = self.running() else { return pending().await };
        while !worker.is_finished() && !self.inner.queue.is_unattended() {
            sleep(LOOK).await;
        }
    }

    /// Returns what was lost since then, and marks it as reported.
    fn losses_since(&self, reported: Losses) -> (Losses, Snapshot) {
        let snapshot = self.inner.queue.snapshot();
        let all = Losses { lost: snapshot.own.dropped.lost(), set_aside: snapshot.dead_lettered };
        *lock(&self.inner.reported) = all;
        let lost = all.lost.saturating_sub(reported.lost);
        (Losses { lost, set_aside: all.set_aside.saturating_sub(reported.set_aside) }, snapshot)
    }

    /// Ends the client: it accepts no more events, delivers what it can within `deadline`, and drops and counts the rest.
    ///
    /// Returns at the deadline at the latest, whatever PostHog does. Afterwards no task, thread or connection of the client
    /// is left, with one exception: a thread that a hung disk blocks, or that checks a large file of another process. Other
    /// handles stay usable and drop what they capture.
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
        let reported = *lock(&self.inner.reported);
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
        let (Losses { lost, set_aside }, Snapshot { ledger, .. }) = self.losses_since(reported);
        let report = ShutdownReport {
            delivered: after.delivered.saturating_sub(before.delivered),
            undelivered,
            dropped: after.dropped.total().saturating_sub(before.dropped.total() + undelivered),
            spooled: ledger.spooled,
            lost,
            set_aside,
            dead_letters: ledger.dead_lettered,
        };
        if first {
            let lost = after.dropped.lost().saturating_sub(before.dropped.lost());
            // The subscriber is foreign code, and must not cost the caller the report.
            foreign::log(|| self.log_end(&report, lost, started.elapsed()));
        }
        report
    }

    fn log_end(&self, report: &ShutdownReport, lost: u64, took: Duration) {
        let _named = self.running().map(|running| running.span.enter());
        let ShutdownReport { delivered, undelivered, spooled, dead_letters, .. } = *report;
        if lost + dead_letters == 0 {
            tracing::info!(target: target::CLIENT, delivered, spooled, ?took, "shut down");
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
        let Some(running) = self.running.take() else { return };
        running.abort();
        let lost = self.queue.abandon();
        // The rest runs the service's recorder and log subscriber, wherever the last handle is dropped: even while a thread
        // ends, where a panic would abort the process.
        let _ = foreign::call(|| {
            running.end_monitor();
            if lost > 0 {
                let _named = running.span.enter();
                tracing::warn!(
                    target: target::CLIENT,
                    lost,
                    "dropped without shutdown: undelivered events are lost"
                );
            }
        });
        let _ = foreign::call(|| drop(running));
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
    /// Events lost since the client was built or last flushed: those of `undelivered`, those over quota, and all that were
    /// dropped for another reason that nobody asked for. [`stats`](PostHog::stats) has the reasons.
    pub lost: u64,
    /// Events set aside as dead letters since the client was built or last flushed.
    pub set_aside: u64,
    /// All dead letters. Without a spool they are lost with the process unless they are
    /// [exported](PostHog::dead_letters).
    pub dead_letters: u64,
}

impl ShutdownReport {
    /// Whether nothing was lost and nothing became a dead letter, so that a job may report success. Events on disk are
    /// delivered after the next start.
    pub fn is_complete(&self) -> bool {
        self.lost + self.set_aside == 0
    }
}

/// [`PostHog::flush`] cannot report success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushError {
    /// The most urgent reason. Events may have been lost in any case.
    pub reason: FlushFailure,
    /// Events in memory or on disk that `flush` no longer waits for. They are kept.
    pub undelivered: u64,
    /// Events lost since the client was built or last flushed, without those that you asked to drop.
    /// [`stats`](PostHog::stats) has the reasons.
    pub lost: u64,
    /// Events set aside as [dead letters](PostHog::dead_letters) since the client was built or last flushed.
    pub set_aside: u64,
}

/// Why a [`flush`](PostHog::flush) failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlushFailure {
    /// Nobody delivers: the delivery task has ended, or its runtime does not run.
    WorkerStopped,
    /// The flush timeout has passed.
    TimedOut,
    /// Every event has met its end, and for some it was not their delivery.
    NotDelivered,
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, undelivered, lost, set_aside } = self;
        match reason {
            FlushFailure::WorkerStopped => write!(
                f,
                "nobody delivers, with {undelivered} events undelivered: the delivery task is gone or does not run"
            )?,
            FlushFailure::TimedOut => write!(
                f,
                "flush timed out with {undelivered} events undelivered: they are kept, and health() says why"
            )?,
            FlushFailure::NotDelivered => f.write_str("not all events were delivered")?,
        }
        if lost + set_aside > 0 {
            write!(
                f,
                "; {lost} events were lost and {set_aside} set aside: stats() and dead_letters() say why"
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for FlushError {}

/// How many events of this process were lost and became dead letters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Losses {
    lost: u64,
    set_aside: u64,
}

/// How often `flush` looks whether somebody delivers.
const LOOK: Duration = Duration::from_millis(100);

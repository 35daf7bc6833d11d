mod conveniences;
mod credentials;
#[cfg(feature = "error-tracking")]
mod exceptions;
mod flags;
#[cfg(test)]
mod outage_log_tests;
#[cfg(feature = "preflight")]
mod preflight;
mod running;
mod sdk;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthog_rs::RequestContext;
use reqwest::Url;
use tokio::time::{Instant, timeout, timeout_at};

use crate::ConfigError;
use crate::config::{Enrichment, PostHogBuilder, Reviewed, Settings};
use crate::credentials::{CredentialSource, Opened, ProjectToken};
use crate::delivery::{AnyEvent, DeadLetter, DropReason, Ledger, Queue};
use crate::health::{BreakerHealth, Evidence, HealthReport, Life, Probe, report};
use crate::layers::CircuitBreaker;
use crate::layers::circuit_breaker::State as BreakerState;
use crate::monitor::{Alert, AlertTransitions, RolloutReason, RolloutVerdict};
use running::Running;

/// PostHog for a service. See the [crate](crate) for the idea and a quick start.
///
/// # Clone
///
/// A clone is a handle on the same client: cheap, and the way to give it to many tasks.
///
/// # Drop
///
/// Dropping the last handle ends the client at once: it does not block, drops what was not delivered
/// (counted as [`DropReason::Shutdown`]) and logs how much that was. Call [`shutdown`](Self::shutdown)
/// before.
#[derive(Clone, Debug)]
pub struct PostHog {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Arc<Queue>,
    flush_timeout: Duration,
    /// `None` when disabled.
    running: Option<Running>,
    #[cfg_attr(not(feature = "preflight"), allow(dead_code, reason = "only the preflight looks at it"))]
    reviewed: Reviewed,
}

impl PostHog {
    /// Configures a client for the project of this token (`phc_…`), or of the token that comes from a
    /// [`CredentialSource`].
    ///
    /// ```no_run
    /// # use posthog_health::PostHog;
    /// # async fn example() -> Result<(), posthog_health::ConfigError> {
    /// let posthog = PostHog::builder("phc_your_project_token").host("eu").build()?;
    /// # Ok(()) }
    /// ```
    pub fn builder(project_token: impl Into<CredentialSource>) -> PostHogBuilder {
        PostHogBuilder::new(project_token)
    }

    /// Configures a client from the environment:
    ///
    /// | variable | meaning |
    /// |---|---|
    /// | `POSTHOG_API_KEY` | the project token |
    /// | `POSTHOG_HOST` | see [`PostHogBuilder::host`]; optional |
    /// | `POSTHOG_API_KEY_FILE`, `POSTHOG_HOST_FILE` | instead: a file that holds the value, as mounted secrets do. A new token in it is [taken](CredentialSource::file) without a restart |
    /// | `POSTHOG_DISABLED` | `1` switches the client off; then no token is needed |
    ///
    /// What is wrong with it is told by [`build`](PostHogBuilder::build), which names the variable.
    ///
    /// ```no_run
    /// # use posthog_health::PostHog;
    /// # async fn example() -> Result<(), posthog_health::ConfigError> {
    /// let posthog = PostHog::from_env().batch_events(500).build()?;
    /// # Ok(()) }
    /// ```
    pub fn from_env() -> PostHogBuilder {
        PostHogBuilder::from_env()
    }

    /// Starts a client that sends there, or a disabled one.
    pub(crate) fn start(
        target: Option<(Url, Opened<ProjectToken>)>,
        settings: Settings,
        enrichment: Enrichment,
        reviewed: Reviewed,
    ) -> Result<Self, ConfigError> {
        let closed = target.is_none().then_some(DropReason::Disabled);
        let queue = Arc::new(Queue::new(settings.limits.clone(), first_number(), closed));
        let flush_timeout = settings.flush_timeout;
        let running = match target {
            Some((host, opened)) => Some(Running::start(&queue, settings, &host, opened, enrichment)?),
            None => None,
        };
        Ok(Self { inner: Arc::new(Inner { queue, flush_timeout, running, reviewed }) })
    }

    /// Captures an [`Event`](crate::Event) or a [`TypedEvent`](crate::TypedEvent). Returns at once, whatever PostHog does: no I/O, no
    /// waiting, no error. Works on any thread.
    ///
    /// Takes the time (unless the event has its own) and the ambient
    /// [`RequestContext`](posthog_rs::RequestContext) here and now; the rest happens in the background. What
    /// becomes of the event is counted in [`stats`](Self::stats).
    ///
    /// ```
    /// # use posthog_health::{Event, PostHog, testing::FakePostHog};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = FakePostHog::start();
    /// # let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build()?;
    /// let mut event = Event::new("order placed", "user-123");
    /// event.insert_prop("amount", 9.5)?;
    /// posthog.capture(event);
    /// # posthog.flush().await?;
    /// # assert_eq!(server.events()[0]["properties"]["amount"], 9.5);
    /// # Ok(()) }
    /// ```
    pub fn capture(&self, event: impl Into<AnyEvent>) {
        match RequestContext::current() {
            None => self.inner.queue.capture(event),
            Some(context) => self.inner.queue.capture(event.into().within(&context)),
        }
    }

    /// Sends what has been captured so far without waiting for full batches, and resolves when each of these
    /// events is delivered or has met another end, those that [the SDK](Self::sdk) made included. Waits up to the
    /// [flush timeout](PostHogBuilder::flush_timeout). Events that come meanwhile may travel along, but are
    /// not waited for, nor is what other processes left in a spool. A pending retry does not come earlier.
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
    /// [`FlushTimeout`] when some are still on their way; they stay there.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting, not the sending.
    pub async fn flush(&self) -> Result<(), FlushTimeout> {
        let deadline = Instant::now() + self.inner.flush_timeout;
        let is_all_here = match &self.inner.running {
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

    /// Ends the client: takes no more events, delivers what it can within `deadline`, and drops and counts
    /// the rest. Returns at the deadline at the latest, whatever PostHog does; afterwards no task, thread or
    /// connection of the client is left. Other handles stay usable and drop what they capture.
    ///
    /// With a spool, everything that is left is on disk within moments (unless the disk fails or is full, or its
    /// file is still being checked) and waits there for the next start. While PostHog does not answer, the call
    /// ends as soon as that is done. The last fourth of the deadline, half a second at most, is for the last
    /// write; a disk that hangs is left behind with its thread.
    ///
    /// What [the SDK](Self::sdk) still has comes first, for a fourth of the deadline at most, which is thousands of
    /// times what it needs.
    ///
    /// Give it what your orchestrator's grace period leaves, 5 s if in doubt.
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
    /// Dropping the future leaves the client closed for new events and draining; call `shutdown` again to end
    /// it.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let started = Instant::now();
        let before = self.inner.queue.own_totals();
        let closing = Closing(&self.inner.queue);
        if let Some(running) = &self.inner.running {
            running.sdk.drain(started.checked_add(deadline / 4)).await;
        }
        let first = closing.now();
        let mut undelivered = 0;
        if let Some(running) = &self.inner.running {
            running.sdk.end();
            let drained = deadline - running.last_write(deadline);
            running.stop(started.checked_add(drained)).await;
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
            let _named = self.inner.running.as_ref().map(|running| running.span.enter());
            let ShutdownReport { delivered, undelivered, spooled, dead_letters, .. } = report;
            let lost = after.dropped.lost().saturating_sub(before.dropped.lost());
            if lost + dead_letters == 0 {
                tracing::info!(delivered, spooled, took = ?started.elapsed(), "shut down");
            } else {
                tracing::warn!(
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

    /// Asks PostHog whether it is there and takes the token, and reports that together with all that is known
    /// here. Made for readiness probes: never fails, is answered from a cache for 10 s, sends one request
    /// however many ask at once, takes 2 s at most, is not billed, and works while the circuit breaker is
    /// open.
    ///
    /// A degraded PostHog is no reason to take a service out of rotation: answer 200 in both cases, and 503
    /// only where a deployment should wait. [`HealthRoute`](crate::routes::HealthRoute) does.
    ///
    /// ```
    /// # use posthog_health::{PostHog, Reason, testing::FakePostHog};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = FakePostHog::start();
    /// # let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build()?;
    /// let report = posthog.health_check().await;
    /// assert!(report.is_healthy());
    /// println!("{report}"); // {"status":"healthy","posthog":{"connected":true,"latencyMs":12},…
    /// # server.forget_token(FakePostHog::TOKEN);
    /// # let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build()?;
    ///
    /// // PostHog does not know the token:
    /// let report = posthog.health_check().await;
    /// assert_eq!(report.reasons, [Reason::Unauthorized]);
    /// println!("{}", report.reasons[0].detail()); // what it means and what to do
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: a probe under way goes on for the next caller.
    pub async fn health_check(&self) -> HealthReport {
        let finding = match self.probe() {
            Some(probe) => probe.check().await,
            None => None,
        };
        report(Evidence { probe: finding, ..self.evidence() })
    }

    /// The same, from what the latest probe found, however long ago, when this one takes longer than that.
    pub(crate) async fn health_check_within(&self, limit: Duration) -> HealthReport {
        let finding = match self.probe() {
            Some(probe) => timeout(limit, probe.check()).await.unwrap_or_else(|_| probe.latest()),
            None => None,
        };
        report(Evidence { probe: finding, ..self.evidence() })
    }

    /// The report without the question: what the traffic has shown. No I/O.
    pub fn health(&self) -> HealthReport {
        report(self.evidence())
    }

    /// The alerts that fire now, the most urgent first. See [`AlertsConfig`](crate::AlertsConfig). Looked at
    /// once a second.
    pub fn alerts(&self) -> Vec<Alert> {
        self.inner.running.as_ref().map(|running| running.monitor.alerts()).unwrap_or_default()
    }

    /// Tells of each alert that begins or ceases to fire from now on. Each is a log line too: P1 at error, P2 and
    /// what is resolved at warn.
    ///
    /// ```
    /// # use posthog_health::PostHog;
    /// async fn tell(posthog: PostHog) {
    ///     let mut changes = posthog.subscribe();
    ///     while let Some(change) = changes.next().await {
    ///         println!("{:?} {}", change.alert().severity, change.alert().name);
    ///     }
    /// }
    /// ```
    pub fn subscribe(&self) -> AlertTransitions {
        self.inner.running.as_ref().map_or_else(AlertTransitions::none, |running| running.monitor.subscribe())
    }

    /// Whether the rollout of the version that runs here may go on: for a canary, asked again and again while
    /// it is watched. Judges alerts, error rate, latency and the ledger over a
    /// [window](crate::RolloutConfig::window), and says
    /// [`Hold`](RolloutVerdict::Hold) when there was too little traffic to judge by.
    pub fn rollout_verdict(&self) -> RolloutVerdict {
        match (self.life(), &self.inner.running) {
            (Life::Running, Some(running)) => running.monitor.verdict(),
            (Life::WorkerStopped, _) => RolloutVerdict::Rollback(vec![RolloutReason::WorkerStopped]),
            _ => RolloutVerdict::Hold(vec![RolloutReason::NotRunning]),
        }
    }

    /// Where every captured event is. With a spool the counts go on from one process to the next.
    ///
    /// ```
    /// # use posthog_health::{Event, PostHog, testing::FakePostHog};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = FakePostHog::start();
    /// # let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build()?;
    /// posthog.capture(Event::new("order placed", "user-123"));
    /// posthog.capture(Event::new("order placed", "")); // nobody's: PostHog would reject it, and its batch
    /// # posthog.flush().await?;
    /// assert_eq!(posthog.stats().to_string(), "captured=2 delivered=1 queued=0 dead_lettered=0 dropped=1");
    /// # Ok(()) }
    /// ```
    pub fn stats(&self) -> Ledger {
        self.inner.queue.ledger()
    }

    /// The events that PostHog will not take as they are, the oldest first, each with the reason: to look at,
    /// and to export, one JSON object each. They are kept within
    /// [bounds](PostHogBuilder::dead_letter_events), in memory, and with a spool on disk too; without one they
    /// are gone with the process.
    ///
    /// ```
    /// # fn export(posthog: &posthog_health::PostHog) -> serde_json::Result<()> {
    /// for letter in posthog.dead_letters() {
    ///     println!("{}", serde_json::to_string(&letter)?); // NDJSON
    /// }
    /// # Ok(()) }
    /// ```
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.inner.queue.dead_letters()
    }

    /// Queues the dead letters again as they are, with their uuids and times: for when PostHog was what was
    /// wrong. Tells how many; those for which the queue has no room stay where they are. What PostHog
    /// rejects again becomes a dead letter again.
    pub fn replay_dead_letters(&self) -> u64 {
        self.inner.queue.replay_dead_letters()
    }

    /// Drops the dead letters, counted as [`DropReason::DeadLetterDiscarded`]. Tells how many.
    pub fn discard_dead_letters(&self) -> u64 {
        self.inner.queue.discard_dead_letters()
    }

    /// The delivery's circuit breaker, to look at. `None` when disabled.
    pub fn circuit_breaker(&self) -> Option<&CircuitBreaker> {
        self.inner.running.as_ref().map(|running| &running.breaker)
    }

    fn probe(&self) -> Option<Arc<Probe>> {
        self.inner.running.as_ref().and_then(Running::probe)
    }

    fn life(&self) -> Life {
        match &self.inner.running {
            None => Life::Disabled,
            Some(_) if self.inner.queue.is_closed() => Life::ShutDown,
            Some(running) if running.abort.is_finished() => Life::WorkerStopped,
            Some(_) => Life::Running,
        }
    }

    fn evidence(&self) -> Evidence {
        let queue = self.inner.queue.snapshot();
        let running = self.inner.running.as_ref();
        let breaker = running.map(|running| &running.breaker);
        Evidence {
            life: self.life(),
            probe: running.and_then(Running::has_no_token),
            signs: running.map(|running| running.monitor.signs()).unwrap_or_default(),
            breaker: BreakerHealth {
                state: breaker.map_or(BreakerState::Closed, CircuitBreaker::state),
                retry_in: breaker.and_then(CircuitBreaker::retry_in),
            },
            queue,
            alerts: self.alerts(),
            now: Instant::now(),
        }
    }
}

#[cfg(feature = "spool")]
impl PostHog {
    /// Captures an event, and resolves when it is on disk: after `Ok` it outlives a crash and a loss of power.
    /// For importers that move their offset on the strength of it. Many calls at once share one `fsync`, so
    /// make them side by side.
    ///
    /// ```
    /// # use posthog_health::{Event, PostHog, SpoolConfig, testing::FakePostHog};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (server, directory) = (FakePostHog::start(), tempfile::tempdir()?);
    /// # let directory = directory.path();
    /// # let builder = PostHog::builder(FakePostHog::TOKEN).host(server.url());
    /// let posthog = builder.spool(SpoolConfig::at(directory)).build()?;
    /// posthog.capture_durable(Event::new("invoice paid", "user-123")).await?; // it is on disk now
    /// # posthog.shutdown(std::time::Duration::from_secs(5)).await;
    /// # assert_eq!(server.distinct(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotDurable`] when the event was not taken: it is counted as dropped for that reason. Capture it again,
    /// the same event: its uuid makes that safe. [`DropReason::SpoolUnavailable`] without a spool, or while it
    /// fails; [`DropReason::TooLarge`] for one that PostHog would not take, which is a dead letter now.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the event captured as by [`capture`](Self::capture).
    pub async fn capture_durable(&self, event: impl Into<AnyEvent>) -> Result<(), NotDurable> {
        let event = match RequestContext::current() {
            None => event.into(),
            Some(context) => event.into().within(&context),
        };
        self.inner.queue.capture_durable(event).await.map_err(|reason| NotDurable { reason })
    }
}

/// An event that [`PostHog::capture_durable`] did not take.
#[cfg(feature = "spool")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event was not taken: {}{}", reason.as_str(), self.remedy())]
#[non_exhaustive]
pub struct NotDurable {
    /// What it is counted as.
    pub reason: DropReason,
}

#[cfg(feature = "spool")]
impl NotDurable {
    fn remedy(&self) -> &'static str {
        match self.reason {
            DropReason::SpoolUnavailable => {
                "; PostHogBuilder::spool gives the client a spool, and `spool.issue` in its health says why one fails"
            }
            _ => "",
        }
    }
}

/// Where a process begins to number its events. A later one begins higher, so that events of several processes
/// have an order, and one more event in between has a place.
fn first_number() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX / 2)
}

/// Closes the queue, though the future that would have done it be dropped before.
struct Closing<'a>(&'a Queue);

impl Closing<'_> {
    /// True for the first.
    fn now(self) -> bool {
        let first = self.0.close();
        std::mem::forget(self);
        first
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(running) = &self.running else { return };
        running.sdk.end();
        running.abort.abort();
        running.end_probe();
        running.flags.end();
        running.end_renewal();
        let lost = self.queue.abandon();
        running.end_monitor();
        if lost > 0 {
            let _named = running.span.enter();
            tracing::warn!(lost, "dropped without shutdown: undelivered events are lost");
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ledger = self.queue.ledger();
        f.debug_struct("Client")
            .field("disabled", &self.running.is_none())
            .field("ledger", &ledger)
            .finish_non_exhaustive()
    }
}

/// What a [`PostHog::shutdown`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Events delivered since the call.
    pub delivered: u64,
    /// Events that were still here at the deadline: lost to this process, though PostHog may have some of
    /// them. Counted as [`DropReason::Shutdown`].
    pub undelivered: u64,
    /// Events dropped for other reasons since the call.
    pub dropped: u64,
    /// Events that wait on disk for the next start.
    pub spooled: u64,
    /// Dead letters: without a spool gone with the process unless they are
    /// [exported](PostHog::dead_letters).
    pub dead_letters: u64,
}

/// [`PostHog::flush`] ran out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "flush timed out with {undelivered} events undelivered: they stay on their way, and health() says why"
)]
#[non_exhaustive]
pub struct FlushTimeout {
    /// Events in memory or on disk now.
    pub undelivered: u64,
}

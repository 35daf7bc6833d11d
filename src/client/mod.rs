//! [`PostHog`], the handle. [`build`] checks the configuration, [`start`] puts the parts together, [`pipeline`] those
//! between queue and PostHog, and [`running`] owns them until [`shutdown`]. The other files are the handle's methods, by
//! topic: each passes the call to the part that does the work.

mod build;
mod credentials;
mod dead_letters;
#[cfg(feature = "spool")]
mod durable;
#[cfg(feature = "error-tracking")]
mod exceptions;
mod flags;
mod health;
mod identify;
mod pipeline;
mod running;
mod sdk;
mod shutdown;
mod start;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex};

use crate::config::{PostHogBuilder, Settings};
use crate::credentials::CredentialSource;
use crate::delivery::{AnyEvent, Ledger, Producer, Queue};
#[cfg(feature = "spool")]
pub use durable::NotDurable;
use running::Running;
use shutdown::Losses;
pub use shutdown::{FlushError, FlushFailure, ShutdownReport};

/// PostHog for a service. See the [crate](crate) for the idea and a quick start.
///
/// # Clone
///
/// A clone is a handle to the same client. Cloning is cheap, so give each task its own.
///
/// # Drop
///
/// Dropping the last handle ends the client at once. It does not block. Undelivered events are dropped, counted as
/// [`DropReason::Shutdown`](crate::DropReason::Shutdown), and logged with their number. Call
/// [`shutdown`](Self::shutdown) first.
#[derive(Clone, Debug)]
pub struct PostHog {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Arc<Queue>,
    producer: Arc<Producer>,
    settings: Arc<Settings>,
    /// The losses that callers of `flush` and `shutdown` know of.
    reported: Mutex<Losses>,
    /// `None` when disabled.
    running: Option<Running>,
}

impl PostHog {
    /// Configures a client for the project of this token (`phc_…`), or for that of a token from a [`CredentialSource`].
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
    /// | `POSTHOG_CAPTURE_MODE` | `v0`, `v1` or `auto`, see [`PostHogBuilder::capture_protocol`]; optional |
    /// | `POSTHOG_API_KEY_FILE`, `POSTHOG_HOST_FILE` | instead: a file with the value, as mounted secrets are. A new token in it is [picked up](CredentialSource::file) without a restart |
    /// | `POSTHOG_DISABLED` | `1` switches the client off; then no token is needed |
    ///
    /// [`build`](PostHogBuilder::build) reports an invalid value and names its variable.
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

    /// Captures an [`Event`](crate::Event) or a [`TypedEvent`](crate::TypedEvent). Returns at once, whatever PostHog does:
    /// it does no I/O, never waits, and has no error. It works on any thread.
    ///
    /// The event becomes final here, on the caller's thread, in this order:
    ///
    /// 1. A closed client, or a queue that is full and drops the newest event, refuses it before anything else is done.
    /// 2. It gets its time, unless it has its own, and the ambient [`RequestContext`](posthog_rs::RequestContext). An event
    ///    without a name or a distinct id is dropped, because PostHog would reject its whole batch.
    /// 3. The [`before_send`](PostHogBuilder::before_send) hooks change or drop it.
    /// 4. It is encoded, once, to the JSON that PostHog will receive. Retries and a spool use the same bytes.
    ///
    /// The queue takes the bytes, and a task on your runtime delivers them. [`stats`](Self::stats) counts what becomes of
    /// each event.
    ///
    /// # Cost
    ///
    /// An event of 600 bytes costs the caller about 1 µs in a tight loop, and 1.5 to 2.5 µs when events come one by one. Each
    /// further kilobyte costs about 1.7 µs in many small properties, and 0.4 to 0.7 µs in one long text (measured on one
    /// machine; see the benches). Hooks come on top. The cost is bounded: encoding stops at
    /// [`queue_bytes`](PostHogBuilder::queue_bytes), and the event is dropped as
    /// [`TooLarge`](crate::DropReason::TooLarge).
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
        self.inner.producer.capture(event);
    }

    /// Returns where every captured event is. With a spool the counts continue from one process to the next.
    ///
    /// ```
    /// # use posthog_health::{Event, PostHog, testing::FakePostHog};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = FakePostHog::start();
    /// # let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build()?;
    /// posthog.capture(Event::new("order placed", "user-123"));
    /// posthog.capture(Event::new("order placed", "")); // no person: PostHog would reject its whole batch
    /// assert!(posthog.flush().await.is_err()); // one was lost
    /// assert_eq!(posthog.stats().to_string(), "captured=2 delivered=1 queued=0 dead_lettered=0 dropped=1");
    /// # Ok(()) }
    /// ```
    pub fn stats(&self) -> Ledger {
        self.inner.queue.ledger()
    }

    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.inner.settings
    }

    /// Returns the client's parts. `None` when disabled.
    pub(crate) fn running(&self) -> Option<&Running> {
        self.inner.running.as_ref()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("host", &self.running.as_ref().map(|running| running.host.as_str()))
            .field("ledger", &self.queue.ledger())
            .finish_non_exhaustive()
    }
}

//! [`PostHog`], the handle: [`start`] puts its parts together, [`guards`] what stands between them and PostHog, [`running`]
//! is what there is until the [`ending`]. The other files are what the handle offers beside `capture`.

mod conveniences;
mod credentials;
mod dead_letters;
#[cfg(feature = "spool")]
mod durable;
mod ending;
#[cfg(feature = "error-tracking")]
mod exceptions;
mod flags;
mod guards;
mod health;
#[cfg(test)]
mod outage_log_tests;
#[cfg(test)]
mod outage_spool_tests;
#[cfg(feature = "preflight")]
mod preflight;
mod running;
mod sdk;
mod start;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use posthog_rs::RequestContext;
use reqwest::Url;

use crate::ConfigError;
use crate::config::{Enrichment, PostHogBuilder, Reviewed, Settings};
use crate::credentials::{CredentialSource, Opened, ProjectToken};
use crate::delivery::{AnyEvent, DropReason, Ledger, Queue};
#[cfg(feature = "spool")]
pub use durable::NotDurable;
pub use ending::{FlushTimeout, ShutdownReport};
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
}

/// Where a process begins to number its events. A later one begins higher, so that events of several processes
/// have an order, and one more event in between has a place.
fn first_number() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX / 2)
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

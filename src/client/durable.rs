use super::PostHog;
use crate::delivery::{AnyEvent, DropReason};

impl PostHog {
    /// Captures an event and resolves when it is on disk. After `Ok` it survives a crash and a loss of power, so an
    /// importer can advance its offset. Concurrent calls share one `fsync`, so make many at once.
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
    /// [`NotDurable`] if the event was not accepted. It is counted as dropped for that reason. Capture the same event
    /// again, which its uuid makes safe. The reason is [`DropReason::SpoolUnavailable`] without a spool or while it fails,
    /// including a disk that does not answer for 2 s, [`DropReason::SpoolFull`] while it is full, and [`DropReason::TooLarge`] for an event that PostHog would not accept, which is a dead letter now.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the event stays captured, as by [`capture`](Self::capture).
    pub async fn capture_durable(&self, event: impl Into<AnyEvent>) -> Result<(), NotDurable> {
        self.inner.producer.capture_durable(event).await.map_err(|reason| NotDurable { reason })
    }
}

/// [`PostHog::capture_durable`] did not accept an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event was not taken: {}{}", reason.as_str(), self.remedy())]
#[non_exhaustive]
pub struct NotDurable {
    /// The reason that the event is counted under.
    pub reason: DropReason,
}

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

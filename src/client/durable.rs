use posthog_rs::RequestContext;

use super::PostHog;
use crate::delivery::{AnyEvent, DropReason};

impl PostHog {
    /// Captures an event, and resolves when it is on disk: after `Ok` it outlives a crash and a loss of power.
    /// For importers that move their offset on the strength of it. Many calls at once share one `fsync`, so
    /// make them side by side.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event was not taken: {}", reason.as_str())]
#[non_exhaustive]
pub struct NotDurable {
    /// What it is counted as.
    pub reason: DropReason,
}

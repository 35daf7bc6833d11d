use super::PostHog;
use crate::config::Reviewed;
use crate::credentials::{ProjectToken, SecretKey};
use crate::preflight::Preflight;

impl PostHog {
    /// The go-live checklist, item by item, about this client and its surroundings. Await it, or tell it more before:
    ///
    /// ```no_run
    /// # use posthog_health::PostHog;
    /// # async fn example(posthog: &PostHog) {
    /// let report = posthog.preflight().event_rate(200.0).docs("docs").await;
    /// println!("{report}");
    /// # }
    /// ```
    ///
    /// Within 15 s, whatever hangs. Sends no event and nothing that is billed. See [`preflight`](crate::preflight).
    ///
    /// # Panics
    ///
    /// Awaiting it panics outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends what it has begun.
    pub fn preflight(&self) -> Preflight {
        Preflight::of_client(self.clone())
    }

    pub(crate) fn reviewed(&self) -> &Reviewed {
        &self.inner.reviewed
    }

    pub(crate) fn token(&self) -> Option<ProjectToken> {
        self.inner.running.as_ref()?.credentials.current()
    }

    /// That of local evaluation, if it is on; `None` inside while a provider has given none.
    pub(crate) fn secret_key(&self) -> Option<Option<SecretKey>> {
        Some(self.inner.running.as_ref()?.secret_keys.as_ref()?.current())
    }
}

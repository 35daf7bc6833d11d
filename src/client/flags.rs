use posthog_rs::RequestContext;

use super::PostHog;
use crate::flags::{FlagOptions, Flags};

impl PostHog {
    /// The feature flags of a person: PostHog's answer, or what it last was, or your defaults; never an error. See
    /// [`Flags`] for how to read them. Waits for [`FlagsConfig::timeout`](crate::FlagsConfig::timeout) at most, and not at
    /// all while PostHog's flags are known to fail. Each call that is answered remotely is billed; keep the answer for as
    /// long as it serves.
    ///
    /// ```no_run
    /// # use posthog_health::{FlagOptions, PostHog};
    /// # async fn example(posthog: PostHog) {
    /// let flags = posthog.flags("user-123", FlagOptions::default().group("company", "acme")).await;
    /// if flags.is_enabled("new-checkout", false) {
    ///     println!("{}", flags.variant("button", "blue"));
    /// }
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: an answer that is under way is remembered.
    pub async fn flags(&self, distinct_id: impl Into<String>, options: FlagOptions) -> Flags {
        let distinct_id = distinct_id.into();
        match &self.inner.running {
            Some(running) if !distinct_id.is_empty() => {
                running.flags.flags(distinct_id, options, &self.inner.queue).await
            }
            _ => Flags::unknown(distinct_id, RequestContext::current().unwrap_or_default()),
        }
    }
}

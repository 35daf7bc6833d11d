use super::PostHog;
use crate::flags::{FlagOptions, Flags};

impl PostHog {
    /// Returns the feature flags of a person: PostHog's answer, the last known values, or your defaults, but never an
    /// error. [`Flags`] tells how they are found and how to read them.
    ///
    /// Waits for [`FlagsConfig::timeout`](crate::FlagsConfig::timeout) at most, and not at all while PostHog's flags are
    /// known to fail. PostHog bills each call that it answers, so keep the flags for as long as they serve.
    ///
    /// ```
    /// # use posthog_health::{FlagOptions, PostHog, testing::FakePostHog};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = FakePostHog::start();
    /// # server.set_flag("new-checkout", true);
    /// # let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build()?;
    /// let flags = posthog.flags("user-123", FlagOptions::default().group("company", "acme")).await;
    /// assert!(flags.is_enabled("new-checkout", false)); // PostHog has this flag
    /// assert_eq!(flags.variant("button", "blue"), "blue"); // but not this one, so the default holds
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing. A request in flight goes on, and its answer is remembered.
    pub async fn flags(&self, distinct_id: impl Into<String>, options: FlagOptions) -> Flags {
        let distinct_id = distinct_id.into();
        match self.running() {
            Some(running) if !distinct_id.is_empty() => running.flags.flags(distinct_id, options).await,
            _ => Flags::unknown(distinct_id),
        }
    }
}

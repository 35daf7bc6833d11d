use posthog_rs::RequestContext;

use super::PostHog;
use crate::flags::{FlagOptions, Flags};

impl PostHog {
    /// The feature flags of a person: PostHog's answer, or what it last was, or your defaults; never an error. See
    /// [`Flags`] for how to read them. Waits for [`FlagsConfig::timeout`](crate::FlagsConfig::timeout) at most, and not at
    /// all while PostHog's flags are known to fail. Each call that is answered remotely is billed; keep the answer for as
    /// long as it serves.
    ///
    /// ```
    /// # use posthog_health::{FlagOptions, PostHog, testing::FakePostHog};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = FakePostHog::start();
    /// # server.set_flag("new-checkout", true);
    /// # let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build()?;
    /// let flags = posthog.flags("user-123", FlagOptions::default().group("company", "acme")).await;
    /// assert!(flags.is_enabled("new-checkout", false)); // PostHog has it
    /// assert_eq!(flags.variant("button", "blue"), "blue"); // and not this one: the default
    /// # Ok(()) }
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
        match self.running() {
            Some(running) if !distinct_id.is_empty() => {
                running.flags.flags(distinct_id, options, &self.inner.queue).await
            }
            _ => Flags::unknown(distinct_id, RequestContext::current().unwrap_or_default()),
        }
    }
}

use std::time::Duration;

use super::PostHogBuilder;
use crate::sdk::LocalEvaluation;

impl PostHogBuilder {
    /// Lets [the SDK](crate::PostHog::sdk) evaluate feature flags here, by definitions that it fetches with this secret
    /// key, a personal API key (`phx_…`) or a project secret API key (`phs_…`), when it is first asked for and then
    /// once in `poll_interval`: 30 s is the SDK's default, 1 s the least, parts of a second count as a whole one.
    /// Default none: PostHog meters each fetch, and the key is one more secret.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use posthog_health::PostHog;
    /// # async fn example(secret_key: &str) -> Result<(), posthog_health::ConfigError> {
    /// let posthog = PostHog::from_env().local_evaluation(secret_key, Duration::from_secs(30)).build()?;
    /// # Ok(()) }
    /// ```
    ///
    /// A key that cannot work is told by [`build`](Self::build), which does not fetch anything. In a disabled client
    /// the key is not looked at.
    pub fn local_evaluation(mut self, secret_key: impl AsRef<str>, poll_interval: Duration) -> Self {
        self.settings.sdk.local_evaluation = Some(LocalEvaluation::new(secret_key.as_ref(), poll_interval));
        self
    }
}

#[cfg(feature = "error-tracking")]
impl PostHogBuilder {
    /// How exceptions are reported: stack traces, which frames are yours, trace ids. Default as in the SDK: with the
    /// stack trace of the call, and panics only where [the SDK's global client](crate::PostHog::sdk_options) asks for
    /// them.
    pub fn error_tracking(mut self, options: posthog_rs::ErrorTrackingOptions) -> Self {
        self.settings.sdk.error_tracking = crate::sdk::ErrorTracking::new(options);
        self
    }
}

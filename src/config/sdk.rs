use std::time::Duration;

use super::PostHogBuilder;
use crate::credentials::CredentialSource;
use crate::sdk::LocalEvaluation;

impl PostHogBuilder {
    /// Evaluates [feature flags](crate::PostHog::flags) here, without asking PostHog for each person, by definitions
    /// that are fetched with this secret key, a personal API key (`phx_…`) or a project secret API key (`phs_…`): when
    /// flags are first asked for, and then once in `poll_interval`. 30 s is the SDK's default, 1 s the least.
    /// Default none: PostHog meters each fetch, and the key is one more secret.
    ///
    /// PostHog is still asked for a flag that needs what is not known here: another property of the person, or another
    /// id, where the flag continues an experience or goes by the device.
    ///
    /// From a [file, an environment or a provider](CredentialSource) a new key is taken as a new project token is:
    /// within 10 s, or when PostHog refuses the old one. Until then, and when PostHog does not answer, the definitions
    /// that are there stand in for [`FlagsConfig::last_known_good`](crate::FlagsConfig::last_known_good).
    ///
    /// [The SDK](crate::PostHog::sdk) evaluates flags here too, by definitions that it fetches itself once it is asked
    /// for, with the key of when the client was built. It counts parts of a second of the interval as a whole one.
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
    pub fn local_evaluation(
        mut self,
        secret_key: impl Into<CredentialSource>,
        poll_interval: Duration,
    ) -> Self {
        self.settings.sdk.local_evaluation =
            Some(LocalEvaluation { secret_key: secret_key.into(), poll_interval });
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

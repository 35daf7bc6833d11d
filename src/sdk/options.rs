use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use posthog_rs::{ClientOptions, ClientOptionsBuilder};
use reqwest::Url;
use tracing::Span;

use super::bridge;
use super::error_tracking::ErrorTracking;
use crate::ConfigError;
use crate::credentials::{CredentialSource, ProjectToken, SecretKey};
use crate::delivery::Queue;
use crate::error::check;

/// What only the SDK needs to know. The reasons stand at the builder's methods.
#[derive(Default)]
pub(crate) struct SdkSettings {
    pub(crate) local_evaluation: Option<LocalEvaluation>,
    pub(crate) error_tracking: ErrorTracking,
}

/// How flags are evaluated here.
pub(crate) struct LocalEvaluation {
    pub(crate) secret_key: CredentialSource,
    pub(crate) poll_interval: Duration,
}

/// What the SDK shares with the rest of the client.
pub(crate) struct Road<'a> {
    pub(crate) queue: &'a Arc<Queue>,
    /// What happens to an event on its way to us is logged within.
    pub(crate) span: &'a Span,
    pub(crate) http: &'a reqwest::Client,
    pub(crate) host: &'a Url,
    pub(crate) token: &'a ProjectToken,
    /// Where flags are evaluated here, and the key is known.
    pub(crate) local_evaluation: Option<(SecretKey, Duration)>,
    pub(crate) is_server: bool,
    pub(crate) geoip: bool,
    pub(crate) request_timeout: Duration,
    /// Events that may wait on their way to us.
    pub(crate) events: usize,
}

impl SdkSettings {
    /// Checks what can be checked of a disabled client too.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let day = check::HOUR * 24;
        self.local_evaluation.as_ref().map_or(Ok(()), |local| {
            check::duration("local_evaluation", local.poll_interval, Duration::from_secs(1), day)
        })
    }

    /// Options without local evaluation.
    pub(super) fn plain(&self, road: &Road<'_>) -> Result<ClientOptions, ConfigError> {
        built(&self.common(road))
    }

    pub(super) fn with_local_evaluation(
        &self,
        road: &Road<'_>,
    ) -> Result<Option<ClientOptions>, ConfigError> {
        let Some((secret_key, poll_interval)) = &road.local_evaluation else { return Ok(None) };
        let mut options = self.common(road);
        options
            .enable_local_evaluation(true)
            .secret_key(secret_key.expose())
            .poll_interval_seconds(seconds(*poll_interval));
        built(&options).map(Some)
    }

    fn common(&self, road: &Road<'_>) -> ClientOptionsBuilder {
        let mut options = ClientOptionsBuilder::default();
        options
            .api_key(road.token.expose().to_owned())
            .host(road.host.as_str())
            .disable_geoip(!road.geoip)
            .is_server(road.is_server)
            // Ours: follows no redirect with the token or the secret key, and takes no proxy to this machine.
            .http_client(road.http.clone())
            .request_timeout_seconds(seconds(road.request_timeout))
            // Each event comes to the hook when it is captured: there is no batch to wait for.
            .flush_at(1)
            .max_queue_size(road.events)
            .before_send(bridge::hook(Arc::clone(road.queue), road.span.clone()));
        self.error_tracking.apply(&mut options);
        options
    }
}

/// The SDK counts in whole seconds; the next longer is what it gets.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn built(options: &ClientOptionsBuilder) -> Result<ClientOptions, ConfigError> {
    let refused =
        |error| ConfigError::new("the SDK", format!("refuses its options ({error})"), "report this as a bug");
    options.build().map_err(refused)
}

impl fmt::Debug for SdkSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SdkSettings")
            .field("local_evaluation", &self.local_evaluation.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_second_is_a_whole_one() {
        let cases = [(0, 0), (1, 1), (999, 1), (1_000, 1), (1_001, 2), (30_000, 30)];
        for (millis, whole) in cases {
            assert_eq!(seconds(Duration::from_millis(millis)), whole, "{millis} ms");
        }
    }
}

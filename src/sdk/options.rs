use std::sync::Arc;
use std::time::Duration;

use posthog_rs::{ClientOptions, ClientOptionsBuilder};
use reqwest::Url;

use super::bridge;
use super::error_tracking::ErrorTracking;
use crate::ConfigError;
use crate::credentials::{CredentialSource, ProjectToken, SecretKey};
use crate::delivery::Producer;
use crate::error::check;

/// Which key fetches flag definitions, and how often.
pub struct LocalEvaluation {
    pub secret_key: CredentialSource,
    pub poll_interval: Duration,
}

impl LocalEvaluation {
    pub fn validate(&self) -> Result<(), ConfigError> {
        check::duration("local_evaluation", self.poll_interval, Duration::from_secs(1), check::HOUR * 24)
    }
}

/// What the SDK shares with the rest of the client.
pub struct SdkParts<'a> {
    pub producer: &'a Arc<Producer>,
    pub http: &'a reqwest::Client,
    pub host: &'a Url,
    pub token: &'a ProjectToken,
    /// `None` without local evaluation, or while its key is unknown.
    pub local_evaluation: Option<(SecretKey, Duration)>,
    pub error_tracking: &'a ErrorTracking,
    pub is_server: bool,
    pub geoip: bool,
    pub request_timeout: Duration,
    /// The events that may wait on their way into the queue.
    pub events: usize,
}

impl SdkParts<'_> {
    /// Builds options without local evaluation.
    pub fn options(&self) -> Result<ClientOptions, ConfigError> {
        build(&self.builder())
    }

    pub fn options_with_local_evaluation(&self) -> Result<Option<ClientOptions>, ConfigError> {
        let Some((secret_key, poll_interval)) = &self.local_evaluation else { return Ok(None) };
        let mut options = self.builder();
        options
            .enable_local_evaluation(true)
            .secret_key(secret_key.expose())
            .poll_interval_seconds(seconds(*poll_interval));
        build(&options).map(Some)
    }

    fn builder(&self) -> ClientOptionsBuilder {
        let mut options = ClientOptionsBuilder::default();
        options
            .api_key(self.token.expose().to_owned())
            .host(self.host.as_str())
            .disable_geoip(!self.geoip)
            .is_server(self.is_server)
            // Ours: it follows no redirect with the token or the secret key, and uses no proxy to this machine.
            .http_client(self.http.clone())
            .request_timeout_seconds(seconds(self.request_timeout))
            // Each event meets the hook as soon as it is captured: there is no batch to wait for.
            .flush_at(1)
            .max_queue_size(self.events)
            .before_send(bridge::hook(Arc::clone(self.producer)));
        self.error_tracking.apply(&mut options);
        options
    }
}

/// Rounds up, because the SDK counts in whole seconds.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn build(options: &ClientOptionsBuilder) -> Result<ClientOptions, ConfigError> {
    let refused =
        |error| ConfigError::new("the SDK", format!("refuses its options ({error})"), "report this as a bug");
    options.build().map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_second_are_rounded_up() {
        let cases = [(0, 0), (1, 1), (999, 1), (1_000, 1), (1_001, 2), (30_000, 30)];
        for (millis, whole) in cases {
            assert_eq!(seconds(Duration::from_millis(millis)), whole, "{millis} ms");
        }
    }
}

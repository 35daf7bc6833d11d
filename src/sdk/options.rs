use std::sync::Arc;
use std::time::Duration;

use posthog_rs::{ClientOptionsBuilder, Event};
use reqwest::Url;

use super::error_tracking::{ErrorTracking, capture};
use super::managed::MakeOptions;
use crate::ConfigError;
use crate::credentials::{CredentialSource, ProjectToken, SecretKey};
use crate::delivery::Producer;
use crate::error::check;
use crate::layers::CircuitBreakerHandle;
use crate::rt::POSTHOG_RS;

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
    /// Delivery's.
    pub breaker: &'a CircuitBreakerHandle,
    pub http: &'a reqwest::Client,
    pub host: &'a Url,
    pub token: &'a ProjectToken,
    /// `None` without local evaluation, or while its key is unknown.
    pub local_evaluation: Option<(SecretKey, Duration)>,
    pub error_tracking: &'a ErrorTracking,
    pub is_server: bool,
    pub geoip: bool,
    pub request_timeout: Duration,
}

/// The room of the SDK's own queue. What does not fit is lost uncounted, and the SDK offers no way to count it. So it must be
/// our queue that overflows: the SDK's thread empties the SDK's queue in microseconds an event, even into a queue that is
/// full. The bound is for a hook that blocks that thread for ever.
const SDK_QUEUE: usize = 1_000_000;

impl SdkParts<'_> {
    pub fn options(
        &self,
        local_evaluation: Option<&(SecretKey, Duration)>,
    ) -> Result<Arc<MakeOptions>, ConfigError> {
        let mut options = ClientOptionsBuilder::default();
        options
            .api_key(self.token.expose().to_owned())
            .host(self.host.as_str())
            .disable_geoip(!self.geoip)
            .is_server(self.is_server)
            // Our client follows no redirect with the token or the secret key, and uses no proxy to this machine.
            .http_client(self.http.clone())
            .request_timeout_seconds(seconds(self.request_timeout))
            // Each event reaches the hook as soon as it is captured, without waiting for a batch.
            .flush_at(1)
            .max_queue_size(SDK_QUEUE)
            .before_send(into_our_queue(Arc::clone(self.producer), self.breaker.clone()));
        self.error_tracking.apply(&mut options);
        if let Some((secret_key, poll_interval)) = local_evaluation {
            options
                .enable_local_evaluation(true)
                .secret_key(secret_key.expose())
                .poll_interval_seconds(seconds(*poll_interval));
        }
        options.build().map_err(|error| {
            ConfigError::new("the SDK", format!("refuses its options ({error})"), "report this as a bug")
        })?;
        let is_plain = self.host.scheme() == "http";
        Ok(Arc::new(move || {
            let mut options = options.clone();
            if is_plain {
                options.blocking_http_client(without_certificates()?);
            }
            options.build().ok()
        }))
    }
}

/// The client of the SDK's worker, which sends nothing. The worker would make one that needs the system's certificates, also
/// for an `http` host, and end without them, and with it the events that it was given.
fn without_certificates() -> Option<reqwest::blocking::Client> {
    reqwest::blocking::Client::builder().tls_backend_rustls().tls_certs_only([]).build().ok()
}

/// Rounds up, because the SDK counts in whole seconds.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// The `before_send` hook that moves every event of the SDK into our queue and leaves the SDK nothing to send.
///
/// An event arrives here complete: with its uuid, its time, the request context of its caller, and the SDK's
/// enrichment. The encoder adds only what an event lacks and writes its groups once, so nothing is duplicated. The user's
/// hooks run here, on the SDK's thread, because that is the thread that captures. As the SDK requires of a hook, this one
/// never calls the SDK.
fn into_our_queue(
    producer: Arc<Producer>,
    breaker: CircuitBreakerHandle,
) -> impl FnMut(Event) -> Option<Event> + Send + 'static {
    move |mut event| {
        tell_who_made(&mut event);
        producer.note_alias(&event);
        capture(&producer, event, &breaker);
        None
    }
}

/// With its feature `capture-v1`, which any crate in the tree may switch on, the SDK leaves this to its request's header.
fn tell_who_made(event: &mut Event) {
    if !event.properties().contains_key("$lib") {
        for (name, value) in [("$lib", "posthog-rs"), ("$lib_version", POSTHOG_RS)] {
            // A text can always be written.
            let _ = event.insert_prop(name, value);
        }
    }
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

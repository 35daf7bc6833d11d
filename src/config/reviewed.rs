use std::time::Duration;

use reqwest::Url;

use super::{PostHogBuilder, Settings, host};
use crate::ConfigError;
use crate::api::PostHogClassifier;
use crate::credentials::{CredentialSource, KeyOrigin};
use crate::delivery::{Limits, Pacing, SpoolConfig};
use crate::layers::{
    CircuitBreakerConfig, CircuitBreakerLayer, RateLimitConfig, RateLimitLayer, RetryConfig, RetryLayer,
};
use crate::monitor::AlertsConfig;
use crate::preflight::Preflight;

/// How a client was configured, for the [preflight](crate::preflight) to look at: the running parts have taken their
/// own settings.
#[derive(Clone, Debug)]
pub(crate) struct Reviewed {
    pub(crate) origin: Option<KeyOrigin>,
    pub(crate) host: Option<Url>,
    pub(crate) limits: Limits,
    pub(crate) pacing: Pacing,
    pub(crate) spool: Option<SpoolConfig>,
    pub(crate) request_timeout: Duration,
    pub(crate) probe_timeout: Duration,
    pub(crate) longest_retry_after: Duration,
    pub(crate) retry: RetryConfig,
    pub(crate) circuit_breaker: CircuitBreakerConfig,
    pub(crate) rate_limit: RateLimitConfig,
    pub(crate) alerts: AlertsConfig,
    /// Of the secret key.
    pub(crate) key_origin: Option<KeyOrigin>,
}

impl Reviewed {
    pub(crate) fn of(settings: &Settings, origin: Option<KeyOrigin>, host: Option<&Url>) -> Self {
        Self {
            origin,
            host: host.cloned(),
            limits: settings.limits.clone(),
            pacing: settings.pacing.clone(),
            spool: settings.spool.clone(),
            request_timeout: settings.request_timeout,
            probe_timeout: settings.probe_timeout,
            longest_retry_after: settings.longest_retry_after,
            retry: settings.retry.clone(),
            circuit_breaker: settings.circuit_breaker.clone(),
            rate_limit: settings.rate_limit.clone(),
            alerts: settings.alerts.clone(),
            key_origin: settings.sdk.local_evaluation.as_ref().map(|local| local.secret_key.origin()),
        }
    }
}

/// A builder taken apart: what `build()` would have taken, and what it would have said.
pub(crate) struct Unbuilt {
    pub(crate) disabled: bool,
    pub(crate) environment: Option<ConfigError>,
    pub(crate) source: Result<CredentialSource, ConfigError>,
    /// Of local evaluation.
    pub(crate) secret_key: Option<CredentialSource>,
    pub(crate) host: Result<Url, ConfigError>,
    pub(crate) settings: Result<(), ConfigError>,
    pub(crate) reviewed: Reviewed,
}

impl PostHogBuilder {
    /// The go-live checklist, before the client is built. What [`build`](Self::build) would refuse is a failed check
    /// that names the remedy, and the other checks still run. See [`preflight`](crate::preflight), and
    /// [`PostHog::preflight`](crate::PostHog::preflight) for one that runs.
    pub fn preflight(self) -> Preflight {
        Preflight::of_builder(self)
    }

    pub(crate) fn unbuilt(self) -> Unbuilt {
        let origin = self.credentials.as_ref().map(CredentialSource::origin).ok();
        let host = host::parse(&self.host, self.allow_insecure_http);
        let reviewed = Reviewed::of(&self.settings, origin, host.as_ref().ok());
        Unbuilt {
            disabled: self.disabled,
            environment: self.environment_error,
            source: self.credentials,
            host,
            settings: self.settings.validate().and_then(|()| reviewed.validate()),
            secret_key: self.settings.sdk.local_evaluation.map(|local| local.secret_key),
            reviewed,
        }
    }
}

impl Reviewed {
    /// Checks what the parts check themselves when they are made.
    fn validate(&self) -> Result<(), ConfigError> {
        CircuitBreakerLayer::new(self.circuit_breaker.clone(), PostHogClassifier)?;
        RetryLayer::new(self.retry.clone(), PostHogClassifier)?;
        RateLimitLayer::new(self.rate_limit.clone(), PostHogClassifier).map(|_| ())
    }
}

use std::time::Duration;

use crate::ConfigError;
use crate::api::{CaptureProtocol, PostHogClassifier};
use crate::delivery::{DeadLetterLimits, Hooks, Limits, Overflow, Pacing, SpoolConfig};
use crate::error::check;
use crate::flags::FlagsConfig;
use crate::layers::{
    CircuitBreakerConfig, CircuitBreakerLayer, RateLimitConfig, RateLimitLayer, RetryConfig, RetryLayer,
};
use crate::monitor::{AlertsConfig, RolloutConfig};
use crate::sdk::ErrorTracking;

/// How the client works, whatever the project and the host. Plain values: the client shares them with its preflight.
#[derive(Debug)]
pub struct Settings {
    pub limits: Limits,
    pub pacing: Pacing,
    pub spool: Option<SpoolConfig>,
    pub capture_protocol: CaptureProtocol,
    pub gzip: bool,
    pub request_timeout: Duration,
    pub retry: RetryConfig,
    pub circuit_breaker: CircuitBreakerConfig,
    pub rate_limit: RateLimitConfig,
    pub longest_retry_after: Duration,
    pub flush_timeout: Duration,
    pub probe_timeout: Duration,
    pub probe_cache: Duration,
    pub alerts: AlertsConfig,
    pub rollout: RolloutConfig,
    pub flags: FlagsConfig,
    pub error_tracking: ErrorTracking,
}

/// What the encoder needs.
pub struct Enrichment {
    pub hooks: Hooks,
    pub is_server: bool,
    pub geoip: bool,
}

const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;

/// The builder's methods give the reasons.
impl Default for Settings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            limits: Limits {
                events: 10_000,
                bytes: 64 * MIB,
                event_bytes: 1_000_000,
                batch_events: 100,
                batch_bytes: MIB,
                overflow: Overflow::default(),
                dead_letters: DeadLetterLimits { events: 1_000, bytes: 16 * MIB },
            },
            pacing: Pacing { linger: seconds(1), in_flight: 4, refusal_pause: seconds(60) },
            spool: None,
            capture_protocol: CaptureProtocol::default(),
            gzip: true,
            request_timeout: seconds(10),
            retry: RetryConfig::default(),
            circuit_breaker: CircuitBreakerConfig::default(),
            rate_limit: RateLimitConfig::default(),
            longest_retry_after: seconds(300),
            flush_timeout: seconds(10),
            probe_timeout: seconds(2),
            probe_cache: seconds(10),
            alerts: AlertsConfig::default(),
            rollout: RolloutConfig::default(),
            flags: FlagsConfig::default(),
            error_tracking: ErrorTracking::default(),
        }
    }
}

impl Settings {
    pub fn validate(&self) -> Result<(), ConfigError> {
        let day = check::HOUR * 24;
        let Self { limits, pacing, .. } = self;
        self.spool.as_ref().map_or(Ok(()), SpoolConfig::validate)?;
        check::within("queue_events", limits.events, 1, 100_000_000)?;
        check::within("queue_bytes", limits.bytes, KIB, usize::MAX / 4)?;
        check::within("batch_events", limits.batch_events, 1, 10_000)?;
        check::within("batch_bytes", limits.batch_bytes, KIB, 20 * MIB)?;
        check::fits("batch_events", limits.batch_events, "queue_events", limits.events)?;
        check::fits("batch_bytes", limits.batch_bytes, "queue_bytes", limits.bytes)?;
        check::within("event_bytes", limits.event_bytes, KIB, 20 * MIB)?;
        check::within("dead_letter_events", limits.dead_letters.events, 1, 10_000_000)?;
        check::within("dead_letter_bytes", limits.dead_letters.bytes, limits.event_bytes, usize::MAX / 4)?;
        check::within("in_flight", pacing.in_flight, 1, 64)?;
        check::duration("linger", pacing.linger, check::MILLISECOND, check::HOUR)?;
        check::duration("request_timeout", self.request_timeout, check::MILLISECOND, check::HOUR)?;
        check::duration("longest_retry_after", self.longest_retry_after, check::MILLISECOND, day)?;
        check::duration("refusal_pause", pacing.refusal_pause, check::MILLISECOND, day)?;
        check::duration("flush_timeout", self.flush_timeout, check::MILLISECOND, day)?;
        check::duration("probe_timeout", self.probe_timeout, check::MILLISECOND, check::HOUR)?;
        check::duration("probe_cache", self.probe_cache, check::MILLISECOND, check::HOUR)?;
        self.alerts.validate()?;
        self.rollout.validate()?;
        self.flags.validate()?;
        // The layers check their own settings when they are made; these are dropped again.
        RetryLayer::new(self.retry.clone(), PostHogClassifier)?;
        CircuitBreakerLayer::new(self.circuit_breaker.clone(), PostHogClassifier)?;
        RateLimitLayer::new(self.rate_limit.clone(), PostHogClassifier)?;
        if self.rate_limit.longest_wait.is_some() {
            let remedy =
                "leave it out: delivery waits for its tokens, because its events have nowhere else to go";
            return Err(ConfigError::new("rate_limit.longest_wait", "is set", remedy));
        }
        Ok(())
    }
}

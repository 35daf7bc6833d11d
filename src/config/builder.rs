use std::fmt;
use std::time::Duration;

use posthog_rs::Event;

use super::{Reviewed, check, env, host};
use crate::ConfigError;
use crate::client::PostHog;
use crate::credentials::{CredentialSource, Opened};
use crate::delivery::{DeadLetterLimits, Hook, Limits, Overflow, Pacing, SpoolConfig};
use crate::flags::FlagsConfig;
use crate::layers::{CircuitBreakerConfig, RateLimitConfig, RetryConfig, WhenOpen};
use crate::monitor::{AlertsConfig, RolloutConfig};
use crate::sdk::SdkSettings;

/// Configures and starts a [`PostHog`]. Every value has a default that suits a production service; each
/// method's page tells it and the reason.
#[must_use = "nothing is started until build() is called"]
pub struct PostHogBuilder {
    pub(super) credentials: Result<CredentialSource, ConfigError>,
    pub(super) host: String,
    pub(super) environment_error: Option<ConfigError>,
    pub(super) allow_insecure_http: bool,
    pub(super) disabled: bool,
    pub(super) settings: Settings,
    enrichment: Enrichment,
}

/// How the client works, apart from where it sends to.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) pacing: Pacing,
    pub(crate) spool: Option<SpoolConfig>,
    pub(crate) gzip: bool,
    pub(crate) request_timeout: Duration,
    pub(crate) retry: RetryConfig,
    pub(crate) circuit_breaker: CircuitBreakerConfig,
    pub(crate) rate_limit: RateLimitConfig,
    pub(crate) longest_retry_after: Duration,
    pub(crate) flush_timeout: Duration,
    pub(crate) probe_timeout: Duration,
    pub(crate) probe_cache: Duration,
    pub(crate) alerts: AlertsConfig,
    pub(crate) rollout: RolloutConfig,
    pub(crate) flags: FlagsConfig,
    pub(crate) sdk: SdkSettings,
}

/// What the encoder needs.
pub(crate) struct Enrichment {
    pub(crate) hooks: Vec<Hook>,
    pub(crate) is_server: bool,
    pub(crate) geoip: bool,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The reasons stand at the builder's methods.
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
            gzip: true,
            request_timeout: seconds(10),
            retry: RetryConfig::default(),
            circuit_breaker: CircuitBreakerConfig::default().when_open(WhenOpen::Wait),
            rate_limit: RateLimitConfig::default(),
            longest_retry_after: seconds(300),
            flush_timeout: seconds(10),
            probe_timeout: seconds(2),
            probe_cache: seconds(10),
            alerts: AlertsConfig::default(),
            rollout: RolloutConfig::default(),
            flags: FlagsConfig::default(),
            sdk: SdkSettings::default(),
        }
    }
}

impl PostHogBuilder {
    pub(crate) fn new(source: impl Into<CredentialSource>) -> Self {
        Self {
            credentials: Ok(source.into()),
            host: "us".into(),
            environment_error: None,
            allow_insecure_http: false,
            disabled: false,
            settings: Settings::default(),
            enrichment: Enrichment { hooks: Vec::new(), is_server: true, geoip: true },
        }
    }

    pub(crate) fn from_env() -> Self {
        match env::read(|name| std::env::var_os(name)) {
            Ok(environment) => {
                let builder = Self { credentials: environment.token, ..Self::new("") };
                let builder = builder.disabled(environment.disabled);
                match environment.host {
                    Some(host) => builder.host(host),
                    None => builder,
                }
            }
            Err(error) => Self { environment_error: Some(error), ..Self::new("") },
        }
    }

    /// Where PostHog is: `"us"`, `"eu"`, an app host (`https://eu.posthog.com`, mapped to its ingestion host
    /// as the SDK does), or the URL of your own PostHog or reverse proxy. Default `"us"`, as in the SDK.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// Takes `http://` to a host other than this machine. Default no: the token and every event would be
    /// readable on the way.
    pub fn allow_insecure_http(mut self, allow: bool) -> Self {
        self.allow_insecure_http = allow;
        self
    }

    /// Accepts all calls and sends nothing. Health says so. Default no. For development and tests.
    pub fn disabled(mut self, disabled: bool) -> Self {
        self.disabled = disabled;
        self
    }

    /// Events in one request at most. Default 100, as in the SDK: enough to share the cost of a request,
    /// few enough that a rejected batch is no disaster.
    pub fn batch_events(mut self, events: usize) -> Self {
        self.settings.limits.batch_events = events;
        self
    }

    /// Bytes of JSON in one request at most, before compression. Default 1 MiB: half of what the smallest
    /// server limit in use takes (2 MiB, old self-hosted). An event that is larger goes alone.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.batch_bytes = bytes;
        self
    }

    /// How long an event waits for others to share its request. Default 1 s: nobody looks at analytics
    /// sooner, and at 100 events/s batches are full anyway.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings.pacing.linger = linger;
        self
    }

    /// Events in memory at most, those under way included. Default 10,000, as in the SDK: 50 s of an
    /// outage at 200 events/s.
    pub fn queue_events(mut self, events: usize) -> Self {
        self.settings.limits.events = events;
        self
    }

    /// Bytes in memory at most, reckoned as JSON. Default 64 MiB: what a small container can spare; average
    /// events (600 bytes) meet the other bound first. Exact for encoded events. Those that wait for the encoder, less than a
    /// batch as a rule, are mostly reckoned by the mean of the latest ones: up to 127 that are unusually large may get in
    /// before that is noticed.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.bytes = bytes;
        self
    }

    /// What gives way when the queue is full. Default [`Overflow::DropNewest`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.settings.limits.overflow = overflow;
        self
    }

    /// Bytes of JSON of one event at most. Default 1 MB, what PostHog Cloud takes. A larger event is not sent
    /// but becomes a [dead letter](PostHog::dead_letters) at once.
    pub fn event_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.event_bytes = bytes;
        self
    }

    /// Dead letters kept at most. Default 1,000: enough to see a pattern. Beyond, the oldest are dropped.
    pub fn dead_letter_events(mut self, events: usize) -> Self {
        self.settings.limits.dead_letters.events = events;
        self
    }

    /// Bytes of dead letters kept at most. Default 16 MiB.
    pub fn dead_letter_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.dead_letters.bytes = bytes;
        self
    }

    /// Requests under way at once, those that wait to be retried included. Default 4: with 100 ms an answer
    /// that is 4,000 events/s, and few enough not to crowd anybody's connections.
    pub fn in_flight(mut self, requests: usize) -> Self {
        self.settings.pacing.in_flight = requests;
        self
    }

    /// Compresses bodies. Default yes: events shrink to about a tenth, and PostHog takes gzip everywhere.
    pub fn gzip(mut self, gzip: bool) -> Self {
        self.settings.gzip = gzip;
        self
    }

    /// Marks events as sent by a server (`$is_server`), so that its operating system is not taken for the
    /// user's. Default yes, as in the SDK.
    pub fn is_server(mut self, is_server: bool) -> Self {
        self.enrichment.is_server = is_server;
        self
    }

    /// Lets PostHog work out a location from the sender's address. Default yes, as in the SDK; `false` sets
    /// `$geoip_disable`.
    pub fn geoip(mut self, geoip: bool) -> Self {
        self.enrichment.geoip = geoip;
        self
    }

    /// Changes an event or drops it (`None`) before it is encoded. Hooks run in order, off the caller's
    /// thread, once on every event, whatever its origin, on events as captured: the constant enrichment (`$lib`, `$os`,
    /// …) is added after them, where the event has no value of its own. Those of [the SDK](PostHog::sdk) have the
    /// SDK's already. A [`TypedEvent`](crate::TypedEvent) comes as an event too, made for the hook. A hook that panics costs the event that it panicked on
    /// ([`HookPanicked`](crate::DropReason::HookPanicked)). Keep it short: all events wait for it.
    pub fn before_send(mut self, hook: impl FnMut(Event) -> Option<Event> + Send + 'static) -> Self {
        self.enrichment.hooks.push(Box::new(hook));
        self
    }

    /// The time that one attempt may take, from connecting to the last byte of the answer. Default 10 s:
    /// PostHog answers in well under one, and a batch that is slow to send needs room.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.settings.request_timeout = timeout;
        self
    }

    /// See [`layers::retry`](crate::layers::retry) for the defaults.
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.settings.retry = retry;
        self
    }

    /// See [`layers::circuit_breaker`](crate::layers::circuit_breaker) for the defaults. Delivery always
    /// waits when open, whatever [`when_open`](CircuitBreakerConfig::when_open) says: its events have
    /// nowhere else to go.
    pub fn circuit_breaker(mut self, circuit_breaker: CircuitBreakerConfig) -> Self {
        self.settings.circuit_breaker = circuit_breaker.when_open(WhenOpen::Wait);
        self
    }

    /// See [`layers::rate_limit`](crate::layers::rate_limit) for the defaults.
    pub fn rate_limit(mut self, rate_limit: RateLimitConfig) -> Self {
        self.settings.rate_limit = rate_limit;
        self
    }

    /// A `Retry-After` beyond this is cut. Default 5 min: longer than a failover takes, short enough that a
    /// mistaken header does not silence a service for a day.
    pub fn longest_retry_after(mut self, longest: Duration) -> Self {
        self.settings.longest_retry_after = longest;
        self
    }

    /// The longest that PostHog is left alone after an answer that only a person can change: token refused,
    /// wrong host, over quota. It begins with 1 s, for it may have been a stray answer, and doubles. Default
    /// 1 min: the events are kept meanwhile, and a repaired token works again without a restart.
    pub fn refusal_pause(mut self, pause: Duration) -> Self {
        self.settings.pacing.refusal_pause = pause;
        self
    }

    /// How long [`PostHog::flush`] waits at most. Default 10 s, one request timeout.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.settings.flush_timeout = timeout;
        self
    }

    /// The time that a health probe may take. Default 2 s: readiness probes wait little longer.
    pub fn probe_timeout(mut self, timeout: Duration) -> Self {
        self.settings.probe_timeout = timeout;
        self
    }

    /// How long the answer of a health probe is good. Default 10 s, the usual period of a readiness probe:
    /// a thousand readiness calls a second cost PostHog one request in that time.
    pub fn probe_cache(mut self, cache: Duration) -> Self {
        self.settings.probe_cache = cache;
        self
    }

    /// When alerts fire. See [`AlertsConfig`] for the defaults, the go-live checklist's.
    pub fn alerts(mut self, alerts: AlertsConfig) -> Self {
        self.settings.alerts = alerts;
        self
    }

    /// What [`PostHog::rollout_verdict`] judges by. See [`RolloutConfig`] for the defaults.
    pub fn rollout(mut self, rollout: RolloutConfig) -> Self {
        self.settings.rollout = rollout;
        self
    }

    /// How [`PostHog::flags`] asks, and for how long an answer stands in. See [`FlagsConfig`] for the defaults.
    pub fn flags(mut self, flags: FlagsConfig) -> Self {
        self.settings.flags = flags;
        self
    }

    /// Checks the configuration and starts the client: one background task on the current runtime.
    /// Sends nothing yet.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a value cannot work, or outside a tokio runtime. It names the value, what is wrong with it,
    /// and what to do:
    ///
    /// ```
    /// # use posthog_health::PostHog;
    /// let error = PostHog::builder("phx_personal").build().unwrap_err();
    /// assert!(error.to_string().starts_with("project_token is a personal API key (phx_…): use the project token (phc_…)"));
    /// ```
    pub fn build(self) -> Result<PostHog, ConfigError> {
        let origin = self.credentials.as_ref().map(CredentialSource::origin).ok();
        let target = match (self.disabled, self.environment_error) {
            (true, _) => None,
            (false, Some(error)) => return Err(error),
            (false, None) => {
                Some((host::parse(&self.host, self.allow_insecure_http)?, Opened::open(self.credentials?)?))
            }
        };
        self.settings.validate()?;
        let reviewed = Reviewed::of(&self.settings, origin, target.as_ref().map(|(host, _)| host));
        PostHog::start(target, self.settings, self.enrichment, reviewed)
    }
}

#[cfg(feature = "spool")]
impl PostHogBuilder {
    /// Keeps undelivered events on disk, so that they survive outages longer than memory, restarts and
    /// crashes. Default none: what is on disk is for somebody to look after.
    ///
    /// ```no_run
    /// # use posthog_health::{PostHog, SpoolConfig};
    /// # async fn example() -> Result<(), posthog_health::ConfigError> {
    /// let posthog = PostHog::from_env().spool(SpoolConfig::at("/var/lib/shop/posthog")).build()?;
    /// # Ok(()) }
    /// ```
    pub fn spool(mut self, spool: SpoolConfig) -> Self {
        self.settings.spool = Some(spool);
        self
    }
}

impl Settings {
    /// Checks what is not checked by the layers themselves.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let day = check::HOUR * 24;
        let Self { limits, pacing, .. } = self;
        self.spool.as_ref().map_or(Ok(()), SpoolConfig::validate)?;
        check::within("batch_events", limits.batch_events, 1, 10_000)?;
        check::within("batch_bytes", limits.batch_bytes, KIB, 20 * MIB)?;
        check::within("queue_events", limits.events, limits.batch_events, 100_000_000)?;
        check::within("queue_bytes", limits.bytes, limits.batch_bytes, usize::MAX / 4)?;
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
        self.sdk.validate()
    }
}

impl fmt::Debug for PostHogBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostHogBuilder").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "defaults_tests.rs"]
mod defaults_tests;

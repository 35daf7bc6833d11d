use std::fmt;
use std::time::Duration;

use posthog_rs::Event;
use reqwest::Url;

use super::{check, env, host};
use crate::ConfigError;
use crate::client::PostHog;
use crate::credentials::ProjectToken;
use crate::delivery::{DeadLetterLimits, Hook, Limits, Overflow, Pacing};
use crate::layers::{CircuitBreakerConfig, RateLimitConfig, RetryConfig, WhenOpen};

/// Configures and starts a [`PostHog`]. Every value has a default that suits a production service; each
/// method's page tells it and the reason.
#[must_use = "nothing is started until build() is called"]
pub struct PostHogBuilder {
    token: String,
    host: String,
    environment_error: Option<ConfigError>,
    allow_insecure_http: bool,
    disabled: bool,
    batch_events: usize,
    batch_bytes: usize,
    linger: Duration,
    queue_events: usize,
    queue_bytes: usize,
    overflow: Overflow,
    event_bytes: usize,
    dead_letters: DeadLetterLimits,
    in_flight: usize,
    gzip: bool,
    is_server: bool,
    geoip: bool,
    before_send: Vec<Hook>,
    request_timeout: Duration,
    retry: RetryConfig,
    circuit_breaker: CircuitBreakerConfig,
    rate_limit: RateLimitConfig,
    longest_retry_after: Duration,
    refusal_pause: Duration,
    flush_timeout: Duration,
    probe_timeout: Duration,
    probe_cache: Duration,
}

/// A configuration that can work.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `None` when disabled.
    pub(crate) target: Option<(Url, ProjectToken)>,
    pub(crate) limits: Limits,
    pub(crate) pacing: Pacing,
    pub(crate) gzip: bool,
    pub(crate) request_timeout: Duration,
    pub(crate) retry: RetryConfig,
    pub(crate) circuit_breaker: CircuitBreakerConfig,
    pub(crate) rate_limit: RateLimitConfig,
    pub(crate) longest_retry_after: Duration,
    pub(crate) flush_timeout: Duration,
    pub(crate) probe_timeout: Duration,
    pub(crate) probe_cache: Duration,
}

/// What the encoder needs.
pub(crate) struct Enrichment {
    pub(crate) hooks: Vec<Hook>,
    pub(crate) is_server: bool,
    pub(crate) geoip: bool,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

impl PostHogBuilder {
    pub(crate) fn new(token: impl Into<String>) -> Self {
        Self {
            token: token.into(),
            host: "us".into(),
            environment_error: None,
            allow_insecure_http: false,
            disabled: false,
            batch_events: 100,
            batch_bytes: MIB,
            linger: Duration::from_secs(1),
            queue_events: 10_000,
            queue_bytes: 64 * MIB,
            overflow: Overflow::default(),
            event_bytes: 1_000_000,
            dead_letters: DeadLetterLimits { events: 1_000, bytes: 16 * MIB },
            in_flight: 4,
            gzip: true,
            is_server: true,
            geoip: true,
            before_send: Vec::new(),
            request_timeout: Duration::from_secs(10),
            retry: RetryConfig::default(),
            circuit_breaker: CircuitBreakerConfig::default(),
            rate_limit: RateLimitConfig::default(),
            longest_retry_after: Duration::from_secs(300),
            refusal_pause: Duration::from_secs(60),
            flush_timeout: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(2),
            probe_cache: Duration::from_secs(10),
        }
    }

    pub(crate) fn from_env() -> Self {
        match env::read(|name| std::env::var_os(name)) {
            Ok(environment) => {
                let builder = Self::new(environment.token.unwrap_or_default()).disabled(environment.disabled);
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
        self.batch_events = events;
        self
    }

    /// Bytes of JSON in one request at most, before compression. Default 1 MiB: half of what the smallest
    /// server limit in use takes (2 MiB, old self-hosted). An event that is larger goes alone.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// How long an event waits for others to share its request. Default 1 s: nobody looks at analytics
    /// sooner, and at 100 events/s batches are full anyway.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Events in memory at most, those under way included. Default 10,000, as in the SDK: 50 s of an
    /// outage at 200 events/s.
    pub fn queue_events(mut self, events: usize) -> Self {
        self.queue_events = events;
        self
    }

    /// Bytes in memory at most, reckoned as JSON. Default 64 MiB: what a small container can spare; average
    /// events (600 bytes) meet the other bound first.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// What gives way when the queue is full. Default [`Overflow::DropNewest`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Bytes of JSON of one event at most. Default 1 MB, what PostHog Cloud takes. A larger event is not sent
    /// but becomes a [dead letter](PostHog::dead_letters) at once.
    pub fn event_bytes(mut self, bytes: usize) -> Self {
        self.event_bytes = bytes;
        self
    }

    /// Dead letters kept at most. Default 1,000: enough to see a pattern. Beyond, the oldest are dropped.
    pub fn dead_letter_events(mut self, events: usize) -> Self {
        self.dead_letters.events = events;
        self
    }

    /// Bytes of dead letters kept at most. Default 16 MiB.
    pub fn dead_letter_bytes(mut self, bytes: usize) -> Self {
        self.dead_letters.bytes = bytes;
        self
    }

    /// Requests under way at once, those that wait to be retried included. Default 4: with 100 ms an answer
    /// that is 4,000 events/s, and few enough not to crowd anybody's connections.
    pub fn in_flight(mut self, requests: usize) -> Self {
        self.in_flight = requests;
        self
    }

    /// Compresses bodies. Default yes: events shrink to about a tenth, and PostHog takes gzip everywhere.
    pub fn gzip(mut self, gzip: bool) -> Self {
        self.gzip = gzip;
        self
    }

    /// Marks events as sent by a server (`$is_server`), so that its operating system is not taken for the
    /// user's. Default yes, as in the SDK.
    pub fn is_server(mut self, is_server: bool) -> Self {
        self.is_server = is_server;
        self
    }

    /// Lets PostHog work out a location from the sender's address. Default yes, as in the SDK; `false` sets
    /// `$geoip_disable`.
    pub fn geoip(mut self, geoip: bool) -> Self {
        self.geoip = geoip;
        self
    }

    /// Changes an event or drops it (`None`) before it is encoded. Hooks run in order, off the caller's
    /// thread, on events as captured: the constant enrichment (`$lib`, `$os`, …) is added after them, where
    /// the event has no value of its own. A hook that panics costs the event that it panicked on
    /// ([`HookPanicked`](crate::DropReason::HookPanicked)). Keep it short: all events wait for it.
    pub fn before_send(mut self, hook: impl FnMut(Event) -> Option<Event> + Send + 'static) -> Self {
        self.before_send.push(Box::new(hook));
        self
    }

    /// The time that one attempt may take, from connecting to the last byte of the answer. Default 10 s:
    /// PostHog answers in well under one, and a batch that is slow to send needs room.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// See [`layers::retry`](crate::layers::retry) for the defaults.
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.retry = retry;
        self
    }

    /// See [`layers::circuit_breaker`](crate::layers::circuit_breaker) for the defaults. Delivery always
    /// waits when open, whatever [`when_open`](CircuitBreakerConfig::when_open) says: its events have
    /// nowhere else to go.
    pub fn circuit_breaker(mut self, circuit_breaker: CircuitBreakerConfig) -> Self {
        self.circuit_breaker = circuit_breaker;
        self
    }

    /// See [`layers::rate_limit`](crate::layers::rate_limit) for the defaults.
    pub fn rate_limit(mut self, rate_limit: RateLimitConfig) -> Self {
        self.rate_limit = rate_limit;
        self
    }

    /// A `Retry-After` beyond this is cut. Default 5 min: longer than a failover takes, short enough that a
    /// mistaken header does not silence a service for a day.
    pub fn longest_retry_after(mut self, longest: Duration) -> Self {
        self.longest_retry_after = longest;
        self
    }

    /// The longest that PostHog is left alone after an answer that only a person can change: token refused,
    /// wrong host, over quota. It begins with 1 s, for it may have been a stray answer, and doubles. Default
    /// 1 min: the events are kept meanwhile, and a repaired token works again without a restart.
    pub fn refusal_pause(mut self, pause: Duration) -> Self {
        self.refusal_pause = pause;
        self
    }

    /// How long [`PostHog::flush`] waits at most. Default 10 s, one request timeout.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.flush_timeout = timeout;
        self
    }

    /// The time that a health probe may take. Default 2 s: readiness probes wait little longer.
    pub fn probe_timeout(mut self, timeout: Duration) -> Self {
        self.probe_timeout = timeout;
        self
    }

    /// How long the answer of a health probe is good. Default 10 s, the usual period of a readiness probe:
    /// a thousand readiness calls a second cost PostHog one request in that time.
    pub fn probe_cache(mut self, cache: Duration) -> Self {
        self.probe_cache = cache;
        self
    }

    /// Checks the configuration and starts the client: one background task on the current runtime.
    /// Sends nothing yet.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a value cannot work, or outside a tokio runtime.
    pub fn build(mut self) -> Result<PostHog, ConfigError> {
        let settings = self.settings()?;
        let enrichment = Enrichment {
            hooks: std::mem::take(&mut self.before_send),
            is_server: self.is_server,
            geoip: self.geoip,
        };
        PostHog::start(settings, enrichment)
    }

    fn settings(&self) -> Result<Settings, ConfigError> {
        let target = match (self.disabled, &self.environment_error) {
            (true, _) => None,
            (false, Some(error)) => return Err(error.clone()),
            (false, None) => {
                Some((host::parse(&self.host, self.allow_insecure_http)?, ProjectToken::parse(&self.token)?))
            }
        };
        let day = check::HOUR * 24;
        check::within("batch_events", self.batch_events, 1, 10_000)?;
        check::within("batch_bytes", self.batch_bytes, KIB, 20 * MIB)?;
        check::within("queue_events", self.queue_events, self.batch_events, 100_000_000)?;
        check::within("queue_bytes", self.queue_bytes, self.batch_bytes, usize::MAX / 4)?;
        check::within("event_bytes", self.event_bytes, KIB, 20 * MIB)?;
        check::within("dead_letter_events", self.dead_letters.events, 1, 10_000_000)?;
        check::within("dead_letter_bytes", self.dead_letters.bytes, self.event_bytes, usize::MAX / 4)?;
        check::within("in_flight", self.in_flight, 1, 64)?;
        check::duration("linger", self.linger, check::MILLISECOND, check::HOUR)?;
        check::duration("request_timeout", self.request_timeout, check::MILLISECOND, check::HOUR)?;
        check::duration("longest_retry_after", self.longest_retry_after, check::MILLISECOND, day)?;
        check::duration("refusal_pause", self.refusal_pause, check::MILLISECOND, day)?;
        check::duration("flush_timeout", self.flush_timeout, check::MILLISECOND, day)?;
        check::duration("probe_timeout", self.probe_timeout, check::MILLISECOND, check::HOUR)?;
        check::duration("probe_cache", self.probe_cache, check::MILLISECOND, check::HOUR)?;
        Ok(Settings {
            target,
            limits: Limits {
                events: self.queue_events,
                bytes: self.queue_bytes,
                event_bytes: self.event_bytes,
                batch_events: self.batch_events,
                batch_bytes: self.batch_bytes,
                overflow: self.overflow,
                dead_letters: self.dead_letters,
            },
            pacing: Pacing {
                linger: self.linger,
                in_flight: self.in_flight,
                batch_bytes: self.batch_bytes,
                refusal_pause: self.refusal_pause,
                setback: self.retry.setback(),
            },
            gzip: self.gzip,
            request_timeout: self.request_timeout,
            retry: self.retry.clone(),
            circuit_breaker: self.circuit_breaker.clone().when_open(WhenOpen::Wait),
            rate_limit: self.rate_limit.clone(),
            longest_retry_after: self.longest_retry_after,
            flush_timeout: self.flush_timeout,
            probe_timeout: self.probe_timeout,
            probe_cache: self.probe_cache,
        })
    }
}

impl fmt::Debug for PostHogBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostHogBuilder").finish_non_exhaustive()
    }
}

use std::fmt;
use std::time::Duration;

use posthog_rs::Event;
use reqwest::Url;

use super::settings::{Enrichment, Settings};
use super::{environment, host};
use crate::ConfigError;
use crate::api::CaptureProtocol;
use crate::credentials::CredentialSource;
#[cfg(feature = "spool")]
use crate::delivery::SpoolConfig;
use crate::delivery::{Hooks, Overflow};
use crate::flags::FlagsConfig;
use crate::layers::{CircuitBreakerConfig, RateLimitConfig, RetryConfig};
use crate::monitor::{AlertsConfig, RolloutConfig};
#[cfg(feature = "error-tracking")]
use crate::sdk::ErrorTracking;
use crate::sdk::LocalEvaluation;

/// Configures and starts a [`PostHog`](crate::PostHog).
///
/// Every value has a default that suits a production service. Each method documents its default and the reason for it;
/// [`docs/defaults.md`](https://docs.rs/crate/posthog-health/latest/source/docs/defaults.md) has them in one table.
#[must_use = "nothing is started until build() is called"]
pub struct PostHogBuilder {
    credentials: Result<CredentialSource, ConfigError>,
    host: String,
    allow_insecure_http: bool,
    environment: Result<(), ConfigError>,
    enrichment: Enrichment,
    settings: Settings,
    /// Whether the size of batches was set, in events and in bytes. Otherwise it follows the queue's.
    batch_is_set: (bool, bool),
    local_evaluation: Option<LocalEvaluation>,
    disabled: bool,
}

/// What a builder's values come to. Each value that can be wrong by itself has its own result, so that a report can
/// name them all; `build()` stops at the first error.
pub struct Configuration {
    pub disabled: bool,
    /// An error if a variable of the environment cannot be read.
    pub environment: Result<(), ConfigError>,
    pub token: Result<CredentialSource, ConfigError>,
    pub host: Result<Url, ConfigError>,
    pub local_evaluation: Option<LocalEvaluation>,
    pub settings: Settings,
    pub enrichment: Enrichment,
}

/// The project, and where it is.
impl PostHogBuilder {
    pub(crate) fn new(source: impl Into<CredentialSource>) -> Self {
        Self {
            credentials: Ok(source.into()),
            host: "us".into(),
            allow_insecure_http: false,
            environment: Ok(()),
            enrichment: Enrichment { hooks: Hooks::default(), is_server: true, geoip: true },
            settings: Settings::default(),
            batch_is_set: (false, false),
            local_evaluation: None,
            disabled: false,
        }
    }

    pub(crate) fn from_env() -> Self {
        match environment::read(|name| std::env::var_os(name)) {
            Ok(environment) => {
                let builder = Self { credentials: environment.token, ..Self::new("") };
                let builder = builder.disabled(environment.disabled);
                let builder = match environment.capture_protocol {
                    Some(protocol) => builder.capture_protocol(protocol),
                    None => builder,
                };
                match environment.host {
                    Some(host) => builder.host(host),
                    None => builder,
                }
            }
            Err(error) => Self { environment: Err(error), ..Self::new("") },
        }
    }

    /// Sets where the project token comes from. It replaces the token that was given to
    /// [`PostHog::builder`](crate::PostHog::builder); with it, [`PostHog::from_env`](crate::PostHog::from_env) needs no
    /// token in the environment.
    ///
    /// The default is the token that was given, for as long as the client lives; from the environment, the variable or
    /// the file that it names.
    pub fn credentials(mut self, source: CredentialSource) -> Self {
        self.credentials = Ok(source);
        self
    }

    /// Sets where PostHog is: `"us"`, `"eu"`, an app host (`https://eu.posthog.com`, mapped to its ingestion host as the
    /// SDK does), or the URL of your own PostHog or reverse proxy. The default is `"us"`, as in the SDK.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// Allows `http://` to a host other than this machine. The default is no, because the token and every event would be
    /// readable on the way.
    pub fn allow_insecure_http(mut self, allow: bool) -> Self {
        self.allow_insecure_http = allow;
        self
    }
}

/// What is added to events, and what changes them.
impl PostHogBuilder {
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

    /// Changes an event, or drops it (`None`), before it is encoded.
    ///
    /// Hooks run in the order in which they were added, once on every event, whatever its origin. They see the event as it
    /// was captured, with its request context: the constant enrichment (`$lib`, `$os`, …) is added after them, where the
    /// event has no value of its own. Only events of [the SDK](crate::PostHog::sdk) have the SDK's enrichment already. A
    /// [`TypedEvent`](crate::TypedEvent) is parsed into an `Event` for the hook. The default is no hook.
    ///
    /// # Where it runs
    ///
    /// A hook runs inside [`capture`](crate::PostHog::capture), on the caller's thread, as sentry's does. Its time is the
    /// caller's time, so keep it short and do no I/O. Several threads may be in a hook at once, under no lock and in no
    /// global order, so state that it changes needs a lock or an atomic of its own. The SDK accepts an `FnMut` instead,
    /// because it runs hooks on its own thread.
    ///
    /// An event that is captured inside a hook would meet the same hook. It is dropped and counted as
    /// [`InsideHook`](crate::DropReason::InsideHook). An event that is nested deeper than PostHog reads meets no hook, because
    /// a hook that drops it might overflow the stack. It is dropped and counted as [`TooDeep`](crate::DropReason::TooDeep).
    ///
    /// # Panics
    ///
    /// A hook that panics costs the event that it panicked on ([`HookPanicked`](crate::DropReason::HookPanicked)), and the
    /// caller of `capture` does not notice. The panic's message goes where the process's panic messages go. With the feature
    /// `error-tracking`, it goes to stderr as "posthog-health caught a panic: …", so that the SDK's panic hook does not
    /// capture it as an exception of the process. That holds from moments after the SDK has installed its hook; see
    /// [`sdk_options`](crate::PostHog::sdk_options).
    ///
    /// Two panics cannot be caught: any panic where panics abort the process (`panic = "abort"`), and a panic inside a panic
    /// hook, where a second panic always aborts.
    pub fn before_send(mut self, hook: impl Fn(Event) -> Option<Event> + Send + Sync + 'static) -> Self {
        self.enrichment.hooks.push(Box::new(hook));
        self
    }
}

/// Delivery: how events become requests, and what happens when a request fails.
impl PostHogBuilder {
    /// Limits the events in one request. The default is 100, as in the SDK: enough to share the cost of a request, and
    /// few enough that a rejected batch is no disaster. With a smaller [queue](Self::queue_events), the default is the whole
    /// queue; `build()` refuses a value above it, because such a batch would never be full.
    pub fn batch_events(mut self, events: usize) -> Self {
        self.batch_is_set.0 = true;
        self.settings.limits.batch_events = events;
        self
    }

    /// Limits the bytes of JSON in one request, before compression. The default is 1 MiB, half of the smallest server
    /// limit in use (2 MiB, on old self-hosted versions). A larger event is sent alone. With a smaller
    /// [queue](Self::queue_bytes), the default is the whole queue; `build()` refuses a value above it.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_is_set.1 = true;
        self.settings.limits.batch_bytes = bytes;
        self
    }

    /// Sets how long an event waits for others to share its request. The default is 1 s: nobody looks at analytics
    /// sooner, and at 100 events/s batches are full anyway.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings.pacing.linger = linger;
        self
    }

    /// Limits the concurrent requests, including those that wait for a retry. The default is 4: at 100 ms for an answer
    /// they carry 4,000 events/s, and they are few enough not to crowd anybody's connections. While PostHog accepts some
    /// events and not others, half as many come on top for those that it does not accept, so that they hold up nobody.
    pub fn in_flight(mut self, requests: usize) -> Self {
        self.settings.pacing.in_flight = requests;
        self
    }

    /// Chooses the capture protocol. The default is [`CaptureProtocol::V0`], as that of every official SDK that is released;
    /// [`CaptureProtocol::Auto`] is recommended. [`from_env`](crate::PostHog::from_env) reads it from
    /// `POSTHOG_CAPTURE_MODE`, as PostHog's other SDKs do.
    pub fn capture_protocol(mut self, protocol: CaptureProtocol) -> Self {
        self.settings.capture_protocol = protocol;
        self
    }

    /// Compresses request bodies. The default is yes: events shrink to about a tenth, and every PostHog accepts gzip.
    pub fn gzip(mut self, gzip: bool) -> Self {
        self.settings.gzip = gzip;
        self
    }

    /// Limits the time of one attempt, from connecting to the last byte of the answer. The default is 10 s: PostHog
    /// answers in well under one, and a large batch on a slow line needs room.
    ///
    /// At most 6 s and 60 % of it are for connecting. Each address of a name gets an equal part of these, so that an address
    /// that does not answer leaves time for the next one.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.settings.request_timeout = timeout;
        self
    }

    /// Sets how failed attempts are repeated. See [`RetryConfig`] for the defaults. A batch that fails steps aside, so the
    /// next attempt carries other events, if there are any.
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.settings.retry = retry;
        self
    }

    /// Sets when delivery pauses because PostHog fails. See [`CircuitBreakerConfig`] for the defaults. Delivery waits
    /// while the breaker is open, because its events have nowhere else to go.
    pub fn circuit_breaker(mut self, circuit_breaker: CircuitBreakerConfig) -> Self {
        self.settings.circuit_breaker = circuit_breaker;
        self
    }

    /// Limits the requests per second. See [`RateLimitConfig`] for the defaults.
    pub fn rate_limit(mut self, rate_limit: RateLimitConfig) -> Self {
        self.settings.rate_limit = rate_limit;
        self
    }

    /// Caps a `Retry-After`. The default is 5 min: longer than a failover takes, and short enough that a mistaken header
    /// does not silence a service for a day.
    pub fn longest_retry_after(mut self, longest: Duration) -> Self {
        self.settings.longest_retry_after = longest;
        self
    }

    /// Caps the pause after an answer that only a person can change: token refused, wrong host, over quota. The first
    /// pause is 1 s, because the answer may be a stray one, and it doubles. The default is 1 min: the events are kept
    /// meanwhile, and a repaired token works again without a restart.
    pub fn refusal_pause(mut self, pause: Duration) -> Self {
        self.settings.pacing.refusal_pause = pause;
        self
    }

    /// Limits how long [`PostHog::flush`](crate::PostHog::flush) waits. The default is 10 s, one request timeout.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.settings.flush_timeout = timeout;
        self
    }
}

/// The queue: what is kept in memory.
impl PostHogBuilder {
    /// Limits the events in memory, including those in flight. The default is 10,000, as in the SDK: 50 s of an outage
    /// at 200 events/s.
    ///
    /// With a spool, events on disk that are in flight or next to be sent do not count. They are at most
    /// [`in_flight`](Self::in_flight) batches and three more.
    pub fn queue_events(mut self, events: usize) -> Self {
        self.settings.limits.events = events;
        self
    }

    /// Limits the bytes of the events in memory: the JSON of each, and a fixed overhead of about 60 bytes per event. The
    /// count is exact; buffers that events share with delivered neighbours can hold as much again. The default is 64 MiB, what a small container can spare; events of average size (600 bytes) reach
    /// [`queue_events`](Self::queue_events) first.
    ///
    /// Encoding stops at this bound, so one huge event costs bounded time and memory. It is dropped as
    /// [`TooLarge`](crate::DropReason::TooLarge).
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.bytes = bytes;
        self
    }

    /// Sets which event is dropped when the queue is full. The default is [`Overflow::DropNewest`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.settings.limits.overflow = overflow;
        self
    }

    /// Limits the bytes of JSON of one event. The default is 1 MB, what PostHog Cloud accepts. A larger event is not
    /// sent; it becomes a [dead letter](crate::PostHog::dead_letters) at once. An event above
    /// [`queue_bytes`](Self::queue_bytes) is dropped instead.
    pub fn event_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.event_bytes = bytes;
        self
    }

    /// Limits the dead letters that are kept. The default is 1,000, enough to see a pattern. Beyond it, the oldest are
    /// dropped.
    pub fn dead_letter_events(mut self, events: usize) -> Self {
        self.settings.limits.dead_letters.events = events;
        self
    }

    /// Limits the bytes of dead letters that are kept. The default is 16 MiB.
    pub fn dead_letter_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.dead_letters.bytes = bytes;
        self
    }
}

/// The spool: what is kept on disk.
#[cfg(feature = "spool")]
impl PostHogBuilder {
    /// Keeps undelivered events on disk, so that they survive restarts, crashes and outages that exceed the memory. The
    /// default is none, because somebody has to look after what is on disk.
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

/// Health, alerts and rollouts.
impl PostHogBuilder {
    /// Limits the time of a health probe. The default is 2 s, because readiness probes wait little longer.
    pub fn probe_timeout(mut self, timeout: Duration) -> Self {
        self.settings.probe_timeout = timeout;
        self
    }

    /// Sets how long the answer to a health probe is reused. The default is 10 s, the usual period of a readiness probe:
    /// a thousand readiness calls a second cost PostHog one request in that time.
    pub fn probe_cache(mut self, cache: Duration) -> Self {
        self.settings.probe_cache = cache;
        self
    }

    /// Sets when alerts fire. See [`AlertsConfig`] for the defaults, those of the go-live checklist.
    pub fn alerts(mut self, alerts: AlertsConfig) -> Self {
        self.settings.alerts = alerts;
        self
    }

    /// Sets how [`PostHog::rollout_verdict`](crate::PostHog::rollout_verdict) judges. See [`RolloutConfig`] for the
    /// defaults.
    pub fn rollout(mut self, rollout: RolloutConfig) -> Self {
        self.settings.rollout = rollout;
        self
    }
}

/// Feature flags.
impl PostHogBuilder {
    /// Sets how [`PostHog::flags`](crate::PostHog::flags) asks, and for how long an answer stands in. See [`FlagsConfig`]
    /// for the defaults.
    pub fn flags(mut self, flags: FlagsConfig) -> Self {
        self.settings.flags = flags;
        self
    }

    /// Evaluates [feature flags](crate::PostHog::flags) in this process, without asking PostHog for each person. The
    /// definitions are fetched with this secret key, a personal API key (`phx_…`) or a project secret API key (`phs_…`):
    /// when flags are first asked for, and then once every `poll_interval`. The SDK's default interval is 30 s, and the
    /// minimum is 1 s. The default is none, because PostHog meters each fetch and the key is one more secret.
    ///
    /// PostHog is still asked for a flag that needs a value this process does not know: another property of the person,
    /// or another id, where the flag continues an experience or goes by the device.
    ///
    /// A new key from a [file, an environment or a provider](CredentialSource) is picked up as a new project token is:
    /// within 10 s, or when PostHog refuses the old one. Until then, and when PostHog does not answer, the definitions
    /// at hand stand in for [`FlagsConfig::last_known_good`].
    ///
    /// [The SDK](crate::PostHog::sdk) evaluates flags locally too. It fetches definitions itself once it is asked for,
    /// with the key that was in use when the client was built. It rounds the interval up to whole seconds.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use posthog_health::PostHog;
    /// # async fn example(secret_key: &str) -> Result<(), posthog_health::ConfigError> {
    /// let posthog = PostHog::from_env().local_evaluation(secret_key, Duration::from_secs(30)).build()?;
    /// # Ok(()) }
    /// ```
    ///
    /// [`build`](Self::build) reports a key that cannot work, without fetching anything. A disabled client ignores the
    /// key.
    pub fn local_evaluation(
        mut self,
        secret_key: impl Into<CredentialSource>,
        poll_interval: Duration,
    ) -> Self {
        self.local_evaluation = Some(LocalEvaluation { secret_key: secret_key.into(), poll_interval });
        self
    }
}

/// The SDK.
#[cfg(feature = "error-tracking")]
impl PostHogBuilder {
    /// Sets how exceptions are reported: stack traces, which frames are yours, trace ids. The default is the SDK's: with
    /// the stack trace of the call, and panics only where [the SDK's global client](crate::PostHog::sdk_options) asks for
    /// them.
    pub fn error_tracking(mut self, options: posthog_rs::ErrorTrackingOptions) -> Self {
        self.settings.error_tracking = ErrorTracking(options);
        self
    }
}

/// Development and tests.
impl PostHogBuilder {
    /// Accepts all calls and sends nothing. Health reports it. The default is no.
    pub fn disabled(mut self, disabled: bool) -> Self {
        self.disabled = disabled;
        self
    }

    pub(crate) fn into_configuration(mut self) -> Configuration {
        let (limits, (events, bytes)) = (&mut self.settings.limits, self.batch_is_set);
        if !events {
            limits.batch_events = limits.batch_events.min(limits.events);
        }
        if !bytes {
            limits.batch_bytes = limits.batch_bytes.min(limits.bytes);
        }
        Configuration {
            disabled: self.disabled,
            environment: self.environment,
            token: self.credentials,
            host: host::parse(&self.host, self.allow_insecure_http),
            local_evaluation: self.local_evaluation,
            settings: self.settings,
            enrichment: self.enrichment,
        }
    }
}

impl Configuration {
    /// Checks everything that needs neither a runtime nor I/O and applies to a disabled client too.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.settings.validate()?;
        self.local_evaluation.as_ref().map_or(Ok(()), LocalEvaluation::validate)
    }
}

impl fmt::Debug for PostHogBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostHogBuilder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

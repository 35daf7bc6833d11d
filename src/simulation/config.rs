//! The configuration of the client in a simulated service.

use std::time::Duration;

use fastrand::Rng;

use crate::layers::{CircuitBreakerConfig, RateLimitConfig, RetryConfig};
use crate::{CaptureProtocol, CredentialSource, Overflow, PostHog, PostHogBuilder, SpoolConfig, SpoolMode};

#[derive(Clone, Debug)]
pub struct Config {
    /// `None` stands for the crate's defaults.
    pub settings: Option<Settings>,
    pub spool: Option<Spool>,
    /// Whether the client has a `before_send` hook.
    pub has_hook: bool,
    /// Whether the token comes from a provider, which has each new one.
    pub has_provider: bool,
    pub is_disabled: bool,
    pub protocol: CaptureProtocol,
}

/// The settings that differ from the defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    pub queue_events: usize,
    pub queue_bytes: usize,
    pub event_bytes: usize,
    pub batch_events: usize,
    pub batch_bytes: usize,
    pub dead_letter_events: usize,
    pub linger: Duration,
    pub in_flight: usize,
    pub gzip: bool,
    pub drops_oldest: bool,
    pub request_timeout: Duration,
    pub attempts: u32,
    pub backoff: (Duration, Duration),
    pub budget: f32,
    pub open_time: (Duration, Duration),
    pub window: u32,
    pub probes: u32,
    pub rate: u32,
    pub burst: u32,
    pub pause: (Duration, Duration),
    pub longest_retry_after: Duration,
    pub refusal_pause: Duration,
}

#[derive(Clone, Debug)]
pub struct Spool {
    pub is_write_ahead: bool,
    pub max_bytes: u64,
    pub max_age: Duration,
    pub drops_oldest: bool,
}

/// The builder's defaults, which the oracle needs to know. Each is documented there.
const DEFAULT: Settings = Settings {
    queue_events: 10_000,
    queue_bytes: 64 << 20,
    event_bytes: 1_000_000,
    batch_events: 100,
    batch_bytes: 1 << 20,
    dead_letter_events: 1_000,
    linger: Duration::from_secs(1),
    in_flight: 4,
    gzip: true,
    drops_oldest: false,
    request_timeout: Duration::from_secs(10),
    attempts: 3,
    backoff: (Duration::from_millis(500), Duration::from_secs(30)),
    budget: 0.2,
    open_time: (Duration::from_secs(1), Duration::from_secs(10)),
    window: 10,
    probes: 1,
    rate: 50,
    burst: 100,
    pause: (Duration::from_secs(1), Duration::from_secs(30)),
    longest_retry_after: Duration::from_secs(300),
    refusal_pause: Duration::from_secs(60),
};

impl Config {
    pub fn draw(rng: &mut Rng) -> Self {
        let is_default = rng.u8(..3) == 0;
        let settings = (!is_default).then(|| Settings::draw(rng));
        let is_disabled = rng.u8(..100) == 0;
        let spool = (rng.bool() && !is_disabled).then(|| {
            let days = Duration::from_secs(86_400);
            Spool {
                is_write_ahead: rng.bool(),
                max_bytes: if is_default || rng.bool() { 1 << 30 } else { 1 << 20 },
                max_age: if is_default || rng.bool() {
                    days * 7
                } else {
                    Duration::from_secs(rng.u64(60..600))
                },
                drops_oldest: !is_default && rng.bool(),
            }
        });
        let (has_hook, has_provider, protocol) = (rng.bool(), rng.bool(), CaptureProtocol::V0);
        Self { settings, spool, has_hook, has_provider, is_disabled, protocol }
    }

    pub fn settings(&self) -> &Settings {
        self.settings.as_ref().unwrap_or(&DEFAULT)
    }

    pub fn builder(&self, token: CredentialSource, spool_in: &str) -> PostHogBuilder {
        let mut builder = PostHog::builder(token).host("http://127.0.0.1:9").disabled(self.is_disabled);
        builder = builder.capture_protocol(self.protocol);
        if let Some(Settings {
            queue_events,
            queue_bytes,
            event_bytes,
            batch_events,
            batch_bytes,
            dead_letter_events,
            linger,
            in_flight,
            gzip,
            drops_oldest,
            request_timeout,
            attempts,
            backoff,
            budget,
            open_time,
            window,
            probes,
            rate,
            burst,
            pause,
            longest_retry_after,
            refusal_pause,
        }) = self.settings.clone()
        {
            builder = builder
                .queue_events(queue_events)
                .queue_bytes(queue_bytes)
                .event_bytes(event_bytes)
                .batch_events(batch_events)
                .batch_bytes(batch_bytes)
                .dead_letter_events(dead_letter_events)
                .linger(linger)
                .in_flight(in_flight)
                .gzip(gzip)
                .overflow(overflow(drops_oldest))
                .request_timeout(request_timeout)
                .retry(RetryConfig::default().attempts(attempts).backoff(backoff.0, backoff.1).budget(budget))
                .circuit_breaker(
                    CircuitBreakerConfig::default()
                        .open_time(open_time.0, open_time.1)
                        .window(window)
                        .min_calls(window.div_ceil(2))
                        .probes(probes),
                )
                .rate_limit(RateLimitConfig::default().rate(rate).burst(burst).pause(pause.0, pause.1))
                .longest_retry_after(longest_retry_after)
                .refusal_pause(refusal_pause);
        }
        let Some(Spool { is_write_ahead, max_bytes, max_age, drops_oldest }) = self.spool.clone() else {
            return builder;
        };
        builder.spool(
            SpoolConfig::at(spool_in)
                .mode(if is_write_ahead { SpoolMode::WriteAhead } else { SpoolMode::Overflow })
                .max_bytes(max_bytes)
                .max_age(max_age)
                .overflow(overflow(drops_oldest)),
        )
    }

    /// The longest time that a pause of this configuration lasts.
    pub fn longest_pause(&self) -> Duration {
        let Settings {
            backoff, open_time, pause, longest_retry_after, refusal_pause, request_timeout, ..
        } = *self.settings();
        let pauses = [backoff.1, open_time.1, pause.1, longest_retry_after, refusal_pause, request_timeout];
        pauses.into_iter().max().unwrap_or_default()
    }
}

fn overflow(drops_oldest: bool) -> Overflow {
    if drops_oldest { Overflow::DropOldest } else { Overflow::DropNewest }
}

impl Settings {
    fn draw(rng: &mut Rng) -> Self {
        let seconds = Duration::from_secs;
        let millis = Duration::from_millis;
        let queue_events = [50, 200, 2_000, 10_000][rng.usize(..4)];
        let event_bytes = [10_000, 100_000, 1_000_000][rng.usize(..3)];
        let queue_bytes = [200_000, 2 << 20, 64 << 20][rng.usize(..3)];
        // The limiter lets through more than a service captures: a hundred events a second.
        let (rate, batch_events) = [(50, 5), (50, 100), (5, 20), (20, 20)][rng.usize(..4)];
        let base = millis([10, 500, 2_000][rng.usize(..3)]);
        let open = millis([100, 1_000, 5_000][rng.usize(..3)]);
        let pause = millis([100, 1_000, 5_000][rng.usize(..3)]);
        Self {
            queue_events,
            queue_bytes,
            event_bytes,
            batch_events: queue_events.min(batch_events),
            batch_bytes: queue_bytes.min([100_000, 200_000, 1 << 20][rng.usize(..3)]),
            dead_letter_events: [2, 1_000][rng.usize(..2)],
            linger: millis([1, 100, 1_000, 5_000][rng.usize(..4)]),
            in_flight: rng.usize(1..6),
            gzip: rng.u8(..4) == 0,
            drops_oldest: rng.bool(),
            // Seven halvings of a batch that hangs are within the bounds.
            request_timeout: seconds([1, 5][rng.usize(..2)]),
            attempts: rng.u32(1..6),
            backoff: (base, base.max(seconds([1, 30, 60][rng.usize(..3)]))),
            budget: [0.0, 0.2, 2.0][rng.usize(..3)],
            open_time: (open, open.max(seconds([1, 10, 60][rng.usize(..3)]))),
            window: [1, 4, 10, 40][rng.usize(..4)],
            probes: rng.u32(1..4),
            rate,
            burst: [1, 10, 100][rng.usize(..3)],
            pause: (pause, pause.max(seconds([1, 30, 60][rng.usize(..3)]))),
            longest_retry_after: seconds([1, 30, 300][rng.usize(..3)]),
            refusal_pause: seconds([30, 60, 120][rng.usize(..3)]),
        }
    }
}

//! What is kept, and how it is sent.

use std::time::Duration;

use super::PostHogBuilder;
use crate::delivery::Overflow;
use crate::layers::{CircuitBreakerConfig, RateLimitConfig, RetryConfig};

/// The queue.
impl PostHogBuilder {
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
    /// but becomes a [dead letter](crate::PostHog::dead_letters) at once.
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

    /// How long [`PostHog::flush`](crate::PostHog::flush) waits at most. Default 10 s, one request timeout.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.settings.flush_timeout = timeout;
        self
    }
}

/// Requests.
impl PostHogBuilder {
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

    /// The time that one attempt may take, from connecting to the last byte of the answer. Default 10 s:
    /// PostHog answers in well under one, and a batch that is slow to send needs room.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.settings.request_timeout = timeout;
        self
    }

    /// See [`RetryLayer`](crate::layers::RetryLayer) for the defaults.
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.settings.retry = retry;
        self
    }

    /// See [`CircuitBreakerLayer`](crate::layers::CircuitBreakerLayer) for the defaults. Delivery waits while the breaker is
    /// open, because its events have nowhere else to go.
    pub fn circuit_breaker(mut self, circuit_breaker: CircuitBreakerConfig) -> Self {
        self.settings.circuit_breaker = circuit_breaker;
        self
    }

    /// See [`RateLimitLayer`](crate::layers::RateLimitLayer) for the defaults.
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
}

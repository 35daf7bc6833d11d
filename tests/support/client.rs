//! What the end-to-end tests share: a client that is fast to fail and fast to recover.

use std::time::{Duration, Instant};

use posthog_health::layers::{CircuitBreakerConfig, RateLimitConfig, RetryConfig};
use posthog_health::testing::FakePostHog;
use posthog_health::{CredentialSource, Event, FlushFailure, Ledger, PostHog, PostHogBuilder};

pub(crate) const MS: fn(u64) -> Duration = Duration::from_millis;

/// All times in milliseconds, all else as by default.
pub(crate) fn builder(server: &FakePostHog) -> PostHogBuilder {
    builder_of(FakePostHog::TOKEN, server)
}

/// The same with a token from elsewhere.
pub(crate) fn builder_of(token: impl Into<CredentialSource>, server: &FakePostHog) -> PostHogBuilder {
    PostHog::builder(token)
        .host(server.url())
        .linger(MS(5))
        .retry(RetryConfig::default().backoff(MS(1), MS(10)))
        .circuit_breaker(breaker())
        .rate_limit(RateLimitConfig::default().rate(10_000).burst(10_000).pause(MS(1), MS(10)))
        .refusal_pause(MS(20))
}

pub(crate) fn breaker() -> CircuitBreakerConfig {
    CircuitBreakerConfig::default().open_time(MS(5), MS(20))
}

/// A client whose runtime has ended.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn client_without_runtime(server: &FakePostHog) -> PostHog {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    builder(server).build().unwrap()
}

#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn event(n: usize) -> Event {
    let mut event = Event::new("tested".to_owned(), format!("user-{n}"));
    event.insert_prop("n", n).unwrap();
    event
}

/// The event of this number, with a property of this many bytes.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn large_event(n: usize, bytes: usize) -> Event {
    let mut event = event(n);
    event.insert_prop("filler", "x".repeat(bytes)).unwrap();
    event
}

#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn capture(posthog: &PostHog, events: usize) {
    (0..events).for_each(|n| posthog.capture(event(n)));
}

/// Waits for something that will come; the test's own time limit is the deadline.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    });
    waited.await.expect("it never came");
}

/// Waits until the client has heard of a refusal that came after `since`: what it sends from now on is sent later.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) async fn refusal(posthog: &PostHog, since: Instant) {
    until(|| posthog.health().last_error.is_some_and(|error| error.age < since.elapsed())).await;
}

/// Makes a dead letter of an event: PostHog rejects it, and accepts another one afterwards.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) async fn reject(posthog: &PostHog, bad: Event) {
    let (now, letters) = (Instant::now(), posthog.stats().dead_lettered);
    posthog.capture(bad);
    refusal(posthog, now).await;
    capture(posthog, 1);
    until(|| posthog.stats().dead_lettered > letters).await;
}

/// Flushes events some of which are lost or become dead letters.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) async fn flush_lossy(posthog: &PostHog) {
    assert_eq!(posthog.flush().await.unwrap_err().reason, FlushFailure::NotDelivered);
}

#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn assert_balanced(ledger: Ledger) {
    let Ledger { captured, delivered, queued, spooled, dead_lettered, dropped, .. } = ledger;
    assert_eq!(captured, delivered + queued + spooled + dead_lettered + dropped.total(), "{ledger:?}");
}

//! Retry as a user puts it round a service, and the whole stack round one, under a paused clock.

#[path = "support/layers.rs"]
mod support;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posthog_health::layers::CircuitState;
use posthog_health::layers::{
    CircuitBreakerConfig, CircuitBreakerLayer, DeliveryLayers, Observe, RateLimitConfig, RateLimitLayer,
    Replay, RetryConfig, RetryLayer, Verdict, delivery_stack,
};
use posthog_health::{Error, ErrorKind};
use support::{AsAnswered, FAILED, OK};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};

const MS: fn(u64) -> Duration = Duration::from_millis;

#[derive(Debug)]
struct Request;

impl Replay for Request {
    fn replay(&self) -> Option<Self> {
        Some(Self)
    }
}

#[derive(Debug)]
struct Once;

impl Replay for Once {
    fn replay(&self) -> Option<Self> {
        None
    }
}

/// A service that answers by a script and notes when it was called.
#[derive(Clone, Debug, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Verdict>>>,
    calls: Arc<Mutex<Vec<Instant>>>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Verdict>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), calls: Arc::default() }
    }

    fn service<Req: Send + 'static>(
        &self,
    ) -> impl Service<Req, Response = Verdict, Error = Error, Future: Send> + Clone + Send + use<Req> {
        let script = self.clone();
        service_fn(move |_: Req| {
            script.calls.lock().unwrap().push(Instant::now());
            let answer = script.answers.lock().unwrap().pop_front().unwrap_or(OK);
            async move { Ok::<_, Error>(answer) }
        })
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    fn gaps(&self) -> Vec<Duration> {
        self.calls.lock().unwrap().windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

fn retry(config: RetryConfig) -> RetryLayer<AsAnswered> {
    RetryLayer::new(config, AsAnswered).unwrap()
}

#[tokio::test(start_paused = true)]
async fn tries_again_until_success_and_gives_up_after_the_last_attempt() {
    let script = Script::new([FAILED, FAILED]);
    let service = retry(RetryConfig::default()).layer(script.service());
    assert_eq!(service.clone().oneshot(Request).await.unwrap(), OK);
    assert_eq!(script.calls(), 3);

    script.answers.lock().unwrap().extend([FAILED; 3]);
    assert_eq!(service.oneshot(Request).await.unwrap(), FAILED);
    assert_eq!(script.calls(), 6);
}

#[tokio::test(start_paused = true)]
async fn waits_grow_with_jitter_within_their_bounds() {
    let mut different = std::collections::HashSet::new();
    for _ in 0..20 {
        let script = Script::new([FAILED; 4]);
        let config = RetryConfig::default().attempts(5).backoff(MS(100), MS(300)).budget(10.0);
        retry(config).layer(script.service()).oneshot(Request).await.unwrap();
        let gaps = script.gaps();
        for (gap, most) in gaps.iter().zip([200, 300, 300, 300]) {
            assert!(MS(100) <= *gap && *gap <= MS(most + 2), "{gaps:?}");
        }
        different.insert(gaps);
    }
    assert!(different.len() > 1, "jitter");
}

/// PostHog's contract for its SDKs.
#[tokio::test(start_paused = true)]
async fn no_retry_comes_within_100_ms() {
    for config in [RetryConfig::default(), RetryConfig::default().backoff(MS(1), MS(30_000))] {
        for _ in 0..50 {
            let hint = Some(MS(1));
            let answers =
                [FAILED, Verdict::Failed { retry_after: hint }, Verdict::Throttled { retry_after: hint }];
            let script = Script::new(answers);
            retry(config.clone().attempts(4).budget(10.0))
                .layer(script.service())
                .oneshot(Request)
                .await
                .unwrap();
            assert!(script.gaps().iter().all(|gap| *gap >= MS(100)), "{:?}", script.gaps());
        }
    }
}

/// Around another API, whose callers wait.
#[tokio::test(start_paused = true)]
async fn a_short_cap_leaves_room_for_jitter() {
    let mut different = std::collections::HashSet::new();
    for _ in 0..50 {
        let script = Script::new([FAILED]);
        let config = RetryConfig::default().backoff(MS(20), MS(20)).budget(10.0);
        retry(config).layer(script.service()).oneshot(Request).await.unwrap();
        let gaps = script.gaps();
        assert!(gaps.iter().all(|gap| MS(10) <= *gap && *gap <= MS(22)), "{gaps:?}");
        different.extend(gaps);
    }
    assert!(different.len() > 1, "jitter");
}

#[tokio::test(start_paused = true)]
async fn never_comes_back_before_retry_after() {
    let hint = Some(MS(42_000));
    let script =
        Script::new([Verdict::Failed { retry_after: hint }, Verdict::Throttled { retry_after: hint }]);
    retry(RetryConfig::default()).layer(script.service()).oneshot(Request).await.unwrap();
    assert!(script.gaps().iter().all(|gap| *gap >= MS(42_000) && *gap <= MS(42_502)), "{:?}", script.gaps());
}

#[tokio::test(start_paused = true)]
async fn clients_that_were_told_the_same_time_do_not_come_back_together() {
    let mut different = std::collections::HashSet::new();
    for _ in 0..20 {
        let script = Script::new([Verdict::Throttled { retry_after: Some(MS(42_000)) }]);
        retry(RetryConfig::default()).layer(script.service()).oneshot(Request).await.unwrap();
        different.extend(script.gaps());
    }
    assert!(different.len() > 10, "spread over half a second: {different:?}");
}

#[tokio::test(start_paused = true)]
async fn refused_and_unrepeatable_requests_are_tried_once() {
    let script = Script::new([Verdict::Refused]);
    assert_eq!(
        retry(RetryConfig::default()).layer(script.service()).oneshot(Request).await.unwrap(),
        Verdict::Refused
    );
    assert_eq!(script.calls(), 1);

    let script = Script::new([FAILED]);
    assert_eq!(retry(RetryConfig::default()).layer(script.service()).oneshot(Once).await.unwrap(), FAILED);
    assert_eq!(script.calls(), 1);
}

#[test]
fn a_request_of_reqwest_is_sent_again_as_it_is() {
    let request = reqwest::Client::new().post("http://127.0.0.1/batch/").body("events").build().unwrap();
    let again = request.replay().unwrap();
    assert_eq!((again.method(), again.url()), (request.method(), request.url()));
    assert_eq!(again.body().unwrap().as_bytes(), Some(&b"events"[..]));
}

/// Ten from the reserve (one a second, over ten seconds), and a fifth of the traffic on top.
#[tokio::test(start_paused = true)]
async fn the_budget_bounds_retries_to_a_share_of_the_traffic() {
    let config = || RetryConfig::default().attempts(2).backoff(MS(1), MS(1));
    let script = Script::new([OK; 100].into_iter().chain([FAILED; 400]));
    let service = retry(config()).layer(script.service());
    for _ in 0..200 {
        service.clone().oneshot(Request).await.unwrap();
    }
    assert_eq!(script.calls() - 200, 30);

    // Waits that the server named do not spend it.
    let script = Script::new((0..400).map(|_| Verdict::Throttled { retry_after: Some(MS(0)) }));
    let service = retry(config()).layer(script.service());
    for _ in 0..200 {
        service.clone().oneshot(Request).await.unwrap();
    }
    assert_eq!(script.calls(), 400);
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(Duration, String)>>>);

impl Observe<Verdict, Error> for Seen {
    fn attempt(&self, latency: Duration, result: Result<&Verdict, &Error>) {
        let what = match result {
            Ok(verdict) => format!("{verdict:?}"),
            Err(error) => error.to_string(),
        };
        self.0.lock().unwrap().push((latency, what));
    }

    fn abandoned(&self, after: Duration) {
        self.0.lock().unwrap().push((after, "abandoned".into()));
    }
}

fn layers(
    breaker: CircuitBreakerConfig,
    rate: RateLimitConfig,
    observer: Seen,
) -> DeliveryLayers<AsAnswered, Seen> {
    DeliveryLayers {
        retry: retry(RetryConfig::default().backoff(MS(10), MS(10))),
        circuit_breaker: CircuitBreakerLayer::new(breaker, AsAnswered).unwrap(),
        rate_limit: RateLimitLayer::new(rate, AsAnswered).unwrap(),
        observer,
        timeout: MS(5000),
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_spends_no_attempt_and_no_token() {
    let breaker = CircuitBreakerConfig::default().window(1).min_calls(1).open_time(MS(600_000), MS(600_000));
    let rate = RateLimitConfig::default().rate(1).burst(2);
    let layers = layers(breaker, rate, Seen::default());
    let handle = layers.circuit_breaker.handle();
    let limited = layers.rate_limit.clone();
    let script = Script::new([FAILED]);
    let stack = delivery_stack::<_, Request, Error, _, _, _>(layers, script.service::<Request>());

    // The first attempt opens the breaker; the retry is rejected and returned at once.
    let error = stack.clone().oneshot(Request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CircuitOpen);
    assert_eq!((script.calls(), handle.state()), (1, CircuitState::Open));
    let start = Instant::now();
    for _ in 0..1000 {
        assert_eq!(stack.clone().oneshot(Request).await.unwrap_err().kind(), ErrorKind::CircuitOpen);
    }
    assert_eq!(script.calls(), 1);
    assert_eq!(start.elapsed(), MS(0), "no backoff for a rejected call");

    // The burst was two and one was spent: the bucket, shared through the layer, still has the other.
    let beside = limited.layer(script.service::<Request>());
    beside.oneshot(Request).await.unwrap();
    assert_eq!(start.elapsed(), MS(0));
}

#[tokio::test(start_paused = true)]
async fn each_retry_takes_a_token_and_timeouts_are_seen() {
    let seen = Seen::default();
    let layers =
        layers(CircuitBreakerConfig::default(), RateLimitConfig::default().rate(1).burst(1), seen.clone());
    let hang = service_fn(|_: Request| std::future::pending::<Result<Verdict, Error>>());
    let stack = delivery_stack::<_, Request, Error, _, _, _>(layers, hang);
    let start = Instant::now();
    let error = stack.oneshot(Request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let attempt = || (MS(5000), "no answer in time".to_owned());
    let rounded: Vec<_> = seen
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|(took, what)| (MS(took.as_millis() as u64 / 10 * 10), what.clone()))
        .collect();
    assert_eq!(rounded, [attempt(), attempt(), attempt()]);
    assert!(start.elapsed() >= MS(15_000));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_attempt_is_seen() {
    let seen = Seen::default();
    let layers = layers(CircuitBreakerConfig::default(), RateLimitConfig::default(), seen.clone());
    let hang = service_fn(|_: Request| std::future::pending::<Result<Verdict, Error>>());
    let stack = delivery_stack::<_, Request, Error, _, _, _>(layers, hang);
    let _ = tokio::time::timeout(MS(100), stack.oneshot(Request)).await;
    assert_eq!(seen.0.lock().unwrap()[0].1, "abandoned");
}

#[test]
fn impossible_configurations_are_named() {
    let field = |config| RetryLayer::new(config, AsAnswered).unwrap_err().field();
    assert_eq!(field(RetryConfig::default().attempts(0)), "retry.attempts");
    assert_eq!(field(RetryConfig::default().backoff(MS(0), MS(1))), "retry.backoff.base");
    assert_eq!(field(RetryConfig::default().backoff(MS(2), MS(1))), "retry.backoff.cap");
    assert_eq!(field(RetryConfig::default().budget(f32::NAN)), "retry.budget");
}

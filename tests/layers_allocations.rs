//! What memory costs: a call through the layers asks for none, neither while the service is healthy nor when the breaker
//! rejects it, and the queue takes no more than its bound.

#[path = "support/layers.rs"]
mod support;

use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use posthog_health::layers::CircuitState;
use posthog_health::layers::{
    CircuitBreakerConfig, CircuitBreakerLayer, CircuitOpen, Classify, DeliveryLayers, Observe,
    RateLimitConfig, RateLimitExceeded, RateLimitLayer, Replay, RetryConfig, RetryLayer, Verdict,
    delivery_stack,
};
use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{Error, Event, PostHog, TypedEvent};
use support::{AsAnswered, FAILED, OK};
use tower::{Layer, Service, ServiceBuilder};

/// What a rejection is to a caller who keeps it on the stack.
#[derive(Debug)]
struct Rejected;

impl From<CircuitOpen> for Rejected {
    fn from(_: CircuitOpen) -> Self {
        Self
    }
}

impl From<RateLimitExceeded> for Rejected {
    fn from(_: RateLimitExceeded) -> Self {
        Self
    }
}

#[derive(Clone, Copy)]
struct Request(Verdict);

impl Replay for Request {
    fn replay(&self) -> Option<Self> {
        Some(*self)
    }
}

#[derive(Clone, Copy)]
struct Verdicts;

impl Classify<Verdict, Rejected> for Verdicts {
    fn classify(&self, result: Result<&Verdict, &Rejected>) -> Verdict {
        result.copied().unwrap_or(Verdict::NotAttempted)
    }
}

macro_rules! echo {
    ($error:ty) => {
        tower::service_fn(|Request(verdict)| -> Ready<Result<Verdict, $error>> { ready(Ok(verdict)) })
    };
}

/// Once: only what waits for a retry is not ready, and is dropped.
fn call<S: Service<Request>>(service: &mut S, verdict: Verdict) -> Option<Result<S::Response, S::Error>> {
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    match pin!(service.call(Request(verdict))).poll(&mut context) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

fn allocations(mut calls: impl FnMut()) -> u64 {
    allocation_counter::measure(|| (0..100).for_each(|_| calls())).count_total
}

#[tokio::test]
async fn three_layers_closed_and_open() {
    let breaker = CircuitBreakerLayer::new(CircuitBreakerConfig::default(), Verdicts).unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new(RetryConfig::default(), Verdicts).unwrap())
        .layer(breaker.clone())
        .layer(RateLimitLayer::new(RateLimitConfig::default().burst(1000), Verdicts).unwrap())
        .service(echo!(Rejected));
    assert_eq!(allocations(|| assert!(matches!(call(&mut service, OK), Some(Ok(OK))))), 0);
    (0..10).for_each(|_| _ = call(&mut service, FAILED));
    assert_eq!(breaker.handle().state(), CircuitState::Open);
    assert_eq!(allocations(|| assert!(matches!(call(&mut service, OK), Some(Err(Rejected))))), 0);
}

#[test]
fn a_window_with_failures() {
    let layer = CircuitBreakerLayer::new(CircuitBreakerConfig::default(), Verdicts).unwrap();
    let mut service = layer.layer(echo!(Rejected));
    let mut n = 0;
    let next = || {
        n += 1;
        assert!(call(&mut service, if n % 5 == 0 { FAILED } else { OK }).is_some());
    };
    assert_eq!(allocations(next), 0);
    assert_eq!(layer.handle().state(), CircuitState::Closed);
}

#[derive(Clone)]
struct Nobody;

impl Observe<Verdict, Error> for Nobody {
    fn attempt(&self, _: Duration, _: Result<&Verdict, &Error>) {}
}

#[tokio::test]
async fn the_delivery_stack() {
    let layers = DeliveryLayers {
        retry: RetryLayer::new(RetryConfig::default(), AsAnswered).unwrap(),
        circuit_breaker: CircuitBreakerLayer::new(CircuitBreakerConfig::default(), AsAnswered).unwrap(),
        rate_limit: RateLimitLayer::new(RateLimitConfig::default().burst(1000), AsAnswered).unwrap(),
        observer: Nobody,
        timeout: Duration::from_secs(1),
    };
    let mut service = delivery_stack(layers, echo!(Error));
    assert_eq!(allocations(|| assert!(matches!(call(&mut service, OK), Some(Ok(OK))))), 0);
}

/// Small properties are where an event in the SDK's form takes many times the bytes of its JSON. 300 of them, of either kind of
/// event, until the queue has dropped half.
#[tokio::test]
async fn the_queue_takes_no_more_memory_than_its_bound() {
    const MIB: u64 = 1 << 20;
    let server = FakePostHog::start();
    server.always(Reply::hang());
    let sdk = || {
        let mut event = Event::new("small properties", "user-1");
        for n in 0..300 {
            event.insert_prop(format!("p{n}"), n % 10).unwrap();
        }
        event
    };
    let properties: BTreeMap<_, _> = (0..300).map(|n| (format!("p{n}"), n % 10)).collect();
    let typed = || TypedEvent::new("small properties", "user-1", &properties).unwrap();
    let captures: [&dyn Fn(&PostHog); 2] =
        [&|posthog| posthog.capture(sdk()), &|posthog| posthog.capture(typed())];
    for capture in captures {
        let posthog =
            PostHog::builder(FakePostHog::TOKEN).host(server.url()).queue_bytes(8 << 20).build().unwrap();
        // Nothing runs meanwhile, so all that this thread keeps is the queue's.
        let measured = allocation_counter::measure(|| (0..6_000).for_each(|_| capture(&posthog)));
        let queue = posthog.health().queue;
        assert!(queue.bytes > 7 * MIB && queue.bytes <= queue.capacity_bytes, "{queue:?}");
        assert!(measured.bytes_max <= 9 * MIB, "{measured:?}");
        posthog.shutdown(Duration::ZERO).await;
    }
}

//! What the protections cost a call of a service that does nothing.

use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use posthog_health::Error;
use posthog_health::layers::{
    CircuitBreakerConfig, CircuitBreakerLayer, Classify, DeliveryLayers, Observe, RateLimitConfig,
    RateLimitLayer, Replay, RetryConfig, RetryLayer, Verdict, delivery_stack,
};
use tower::{Layer, Service, ServiceBuilder, service_fn};

use crate::{CALLS, measured};

/// What its answer will be.
#[derive(Clone, Copy)]
struct Request(Verdict);

impl Replay for Request {
    fn replay(&self) -> Option<Self> {
        Some(*self)
    }
}

#[derive(Clone, Copy)]
struct AsAnswered;

impl Classify<Verdict, Error> for AsAnswered {
    fn classify(&self, result: Result<&Verdict, &Error>) -> Verdict {
        result.map_or(Verdict::NotAttempted, |verdict| *verdict)
    }
}

#[derive(Clone, Copy)]
struct Nobody;

impl Observe<Verdict, Error> for Nobody {
    fn attempt(&self, _: Duration, _: Result<&Verdict, &Error>) {}
}

/// A service that does nothing but answer.
fn nothing()
-> impl Service<Request, Response = Verdict, Error = Error, Future = Ready<Result<Verdict, Error>>> + Clone {
    service_fn(|request: Request| ready(Ok(request.0)))
}

pub(crate) fn breaker_closed() {
    count(breaker(CircuitBreakerConfig::default()).layer(nothing()));
}

pub(crate) fn breaker_open() {
    let hour = Duration::from_secs(3600);
    let mut service = breaker(CircuitBreakerConfig::default().open_time(hour, hour)).layer(nothing());
    for _ in 0..10 {
        call(&mut service, Request(Verdict::Failed { retry_after: None }));
    }
    count(service);
}

pub(crate) fn limiter() {
    count(rate_limit().layer(nothing()));
}

pub(crate) fn stack() {
    let retry = RetryLayer::new(RetryConfig::default(), AsAnswered).expect("a good configuration");
    let breaker = breaker(CircuitBreakerConfig::default());
    count(ServiceBuilder::new().layer(retry).layer(breaker).layer(rate_limit()).service(nothing()));
}

/// With observer and timeout.
pub(crate) fn delivery() {
    let layers = DeliveryLayers {
        retry: RetryLayer::new(RetryConfig::default(), AsAnswered).expect("a good configuration"),
        circuit_breaker: breaker(CircuitBreakerConfig::default()),
        rate_limit: rate_limit(),
        observer: Nobody,
        timeout: Duration::from_secs(10),
    };
    count(delivery_stack::<_, _, Error, _, _, _>(layers, nothing()));
}

fn breaker(config: CircuitBreakerConfig) -> CircuitBreakerLayer<AsAnswered> {
    CircuitBreakerLayer::new(config, AsAnswered).expect("a good configuration")
}

/// Never waits.
fn rate_limit() -> RateLimitLayer<AsAnswered> {
    let config = RateLimitConfig::default().rate(100_000).burst(100_000);
    RateLimitLayer::new(config, AsAnswered).expect("a good configuration")
}

fn count(mut service: impl Service<Request>) {
    let requests = || vec![Request(Verdict::Success); CALLS].into_iter();
    requests().for_each(|request| call(&mut service, request));
    measured(&mut requests(), |request| call(&mut service, black_box(request)));
}

fn call<S: Service<Request>>(service: &mut S, request: Request) {
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    assert!(pin!(service.call(request)).poll(&mut context).is_ready());
}

//! What is measured: our layers and tower-resilience's, over a service that costs nothing.

#![allow(dead_code, reason = "the count of allocations needs less")]

use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use posthog_health::Error;
use posthog_health::layers::{
    CircuitBreakerConfig, CircuitBreakerLayer, CircuitOpen, Classify, DeliveryLayers, Observe,
    RateLimitConfig, RateLimitExceeded, RateLimitLayer, Replay, RetryConfig, RetryLayer, Verdict,
    delivery_stack,
};
use tower::{Layer, Service, ServiceBuilder};
use tower_resilience::circuitbreaker as theirs_breaker;
use tower_resilience::ratelimiter as theirs_limiter;
use tower_resilience::retry as theirs_retry;

/// What is called, and what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Succeed,
    Fail,
}

impl Replay for Call {
    fn replay(&self) -> Option<Self> {
        Some(*self)
    }
}

/// What a caller may make of a rejection: an error of its own, on the stack as tower-resilience's is.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("try again in {0:?}")]
pub(crate) struct Rejected(Option<Duration>);

impl From<CircuitOpen> for Rejected {
    fn from(open: CircuitOpen) -> Self {
        Self(open.retry_in)
    }
}

impl From<RateLimitExceeded> for Rejected {
    fn from(exceeded: RateLimitExceeded) -> Self {
        Self(Some(exceeded.retry_in))
    }
}

/// A service that costs nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nothing;

impl Service<Call> for Nothing {
    type Response = Call;
    type Error = Rejected;
    type Future = Ready<Result<Call, Rejected>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Rejected>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        ready(Ok(call))
    }
}

/// What both sides are measured by.
pub(crate) trait Measured:
    Service<Call, Response = Call, Error: Send, Future: Send> + Clone + Send + 'static
{
}

impl<S: Service<Call, Response = Call, Error: Send, Future: Send> + Clone + Send + 'static> Measured for S {}

#[derive(Clone, Copy, Debug)]
pub(crate) struct AsAnswered;

impl<E> Classify<Call, E> for AsAnswered {
    fn classify(&self, result: Result<&Call, &E>) -> Verdict {
        match result {
            Ok(Call::Succeed) => Verdict::Success,
            Ok(Call::Fail) => Verdict::Failed { retry_after: None },
            Err(_) => Verdict::NotAttempted,
        }
    }
}

/// More than any round calls.
const CALLS_A_SECOND: u32 = 1_000_000;

pub(crate) mod ours {
    use super::*;

    #[derive(Clone, Copy)]
    struct Nobody;

    impl<E> Observe<Call, E> for Nobody {
        fn attempt(&self, _: Duration, _: Result<&Call, &E>) {}
    }

    pub(crate) fn breaker_layer(window: u32, open: Duration) -> CircuitBreakerLayer<AsAnswered> {
        let config = CircuitBreakerConfig::default().window(window).open_time(open, open);
        CircuitBreakerLayer::new(config, AsAnswered).expect("valid")
    }

    fn limiter_layer() -> RateLimitLayer<AsAnswered> {
        let config = RateLimitConfig::default().rate(CALLS_A_SECOND).burst(CALLS_A_SECOND);
        RateLimitLayer::new(config, AsAnswered).expect("valid")
    }

    fn retry_layer() -> RetryLayer<AsAnswered> {
        RetryLayer::new(RetryConfig::default(), AsAnswered).expect("valid")
    }

    pub(crate) fn breaker(window: u32, open: Duration) -> impl Measured {
        breaker_layer(window, open).layer(Nothing)
    }

    pub(crate) fn limiter() -> impl Measured {
        limiter_layer().layer(Nothing)
    }

    pub(crate) fn retry() -> impl Measured {
        retry_layer().layer(Nothing)
    }

    pub(crate) fn three(window: u32, open: Duration) -> impl Measured {
        ServiceBuilder::new()
            .layer(retry_layer())
            .layer(breaker_layer(window, open))
            .layer(limiter_layer())
            .service(Nothing)
    }

    /// With observer and timeout.
    pub(crate) fn delivery(window: u32, open: Duration) -> impl Measured {
        let layers = DeliveryLayers {
            retry: retry_layer(),
            circuit_breaker: breaker_layer(window, open),
            rate_limit: limiter_layer(),
            observer: Nobody,
            timeout: Duration::from_secs(10),
        };
        delivery_stack::<_, _, Error, _, _, _>(layers, Nothing)
    }
}

pub(crate) mod theirs {
    use super::*;

    impl<E> theirs_breaker::FailureClassifier<Call, E> for AsAnswered {
        fn classify(&self, result: &Result<Call, E>) -> bool {
            matches!(result, Ok(Call::Fail))
        }
    }

    fn breaker_layer(window: u32, open: Duration) -> theirs_breaker::CircuitBreakerLayer<AsAnswered> {
        theirs_breaker::CircuitBreakerLayer::builder()
            .failure_classifier_type(AsAnswered)
            .failure_rate_threshold(0.5)
            .sliding_window_size(window as usize)
            .minimum_number_of_calls(5)
            .wait_duration_in_open(open)
            .permitted_calls_in_half_open(1)
            .build()
            .expect("valid")
    }

    fn limiter_layer() -> theirs_limiter::RateLimiterLayer {
        let calls = CALLS_A_SECOND as usize;
        theirs_limiter::RateLimiterLayer::burst(calls, calls).build().expect("valid")
    }

    pub(crate) fn breaker(window: u32, open: Duration) -> impl Measured {
        breaker_layer(window, open).layer(Nothing)
    }

    pub(crate) fn limiter() -> impl Measured {
        limiter_layer().layer(Nothing)
    }

    /// Its default: no burst beyond the period.
    pub(crate) fn fixed_window() -> impl Measured {
        let layer = theirs_limiter::RateLimiterLayer::per_second(CALLS_A_SECOND as usize);
        layer.build().expect("valid").layer(Nothing)
    }

    /// Without a budget, as it is by default.
    pub(crate) fn retry() -> impl Measured {
        theirs_retry::RetryLayer::<Call, Call, Rejected>::builder().max_attempts(3).build().layer(Nothing)
    }

    pub(crate) fn three(window: u32, open: Duration) -> impl Measured {
        ServiceBuilder::new()
            .layer(theirs_retry::RetryLayer::builder().max_attempts(3).build())
            .layer(breaker_layer(window, open))
            .layer(limiter_layer())
            .service(Nothing)
    }
}

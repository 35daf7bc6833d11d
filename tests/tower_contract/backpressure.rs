//! Under `LoadShed`, `Buffer` and `Balance`.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use posthog_health::Error;
use posthog_health::layers::{
    CircuitBreakerLayer, CircuitState, HttpStatus, RateLimitConfig, RateLimitLayer, Verdict, WaitIn,
};
use tokio::time::{Instant, sleep};
use tower::balance::p2c::Balance;
use tower::buffer::Buffer;
use tower::discover::ServiceList;
use tower::load::Constant;
use tower::load_shed::{LoadShed, error::Overloaded};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use crate::support::{AsAnswered, FAILED, OK};
use crate::{MS, breaker, layer};

fn echo(verdict: Verdict) -> std::future::Ready<Result<Verdict, Error>> {
    ready(Ok(verdict))
}

fn is_shed<T>(result: Result<T, BoxError>) -> bool {
    result.is_err_and(|error| error.is::<Overloaded>())
}

#[tokio::test]
async fn load_is_shed_while_the_breaker_is_open() {
    let layer = layer(breaker().open_time(MS(1), MS(1))).wait_when_open(WaitIn::PollReady);
    let mut service = LoadShed::new(layer.layer(service_fn(echo)));
    service.ready().await.unwrap().call(FAILED).await.unwrap();
    layer.handle().force_open();
    for _ in 0..3 {
        assert!(is_shed(service.ready().await.unwrap().call(OK).await));
    }
    layer.handle().reset();
    assert_eq!(service.ready().await.unwrap().call(OK).await.unwrap(), OK);

    let waits_in_call = LoadShed::new(layer.clone().wait_when_open(WaitIn::Call).layer(service_fn(echo)));
    layer.handle().force_open();
    let mut call = tokio_test::task::spawn(waits_in_call.oneshot(OK));
    tokio_test::assert_pending!(call.poll(), "it waits in its future, and nothing is shed");
}

#[tokio::test(start_paused = true)]
async fn load_beyond_the_rate_is_shed_and_the_rate_is_kept() {
    for handles in [1, 20] {
        let config = RateLimitConfig::default().rate(100).burst(1);
        let layer = RateLimitLayer::new(config, AsAnswered).unwrap().wait_in(WaitIn::PollReady);
        let mut services = vec![LoadShed::new(layer.layer(service_fn(echo))); handles];
        let (mut taken, mut shed) = (0, 0);
        // Ten times the rate, by handles that stay.
        for n in 0..4000 {
            let service = &mut services[n % handles];
            match service.ready().await.unwrap().call(OK).await {
                Ok(_) => taken += 1,
                Err(error) => shed += u32::from(error.is::<Overloaded>()),
            }
            sleep(MS(1)).await;
        }
        assert_eq!(taken + shed, 4000);
        assert!((300..=401).contains(&taken), "{taken} of 400 by {handles} handles");
    }
}

#[tokio::test(start_paused = true)]
async fn a_buffer_keeps_calls_until_there_are_tokens() {
    let under_way = Arc::new(AtomicU32::new(0));
    let config = RateLimitConfig::default().rate(10).burst(1);
    let layer = RateLimitLayer::new(config, AsAnswered).unwrap().wait_in(WaitIn::PollReady);
    let counted = Arc::clone(&under_way);
    let service = layer.layer(service_fn(move |verdict: Verdict| {
        counted.fetch_add(1, Ordering::Relaxed);
        echo(verdict)
    }));
    let buffer = Buffer::new(service, 100);
    let begun = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..21 {
        calls.spawn(buffer.clone().oneshot(OK));
    }
    sleep(MS(1)).await;
    assert_eq!(under_way.load(Ordering::Relaxed), 1);
    assert!(calls.join_all().await.iter().all(Result::is_ok));
    assert!(begun.elapsed() >= MS(2000) && begun.elapsed() < MS(2050), "{:?}", begun.elapsed());
}

/// One of three endpoints is dead. It must not attract calls by being quick to reject them.
#[tokio::test]
async fn a_balancer_leaves_an_open_endpoint_alone() {
    let breakers: Vec<_> = (0..3).map(|_| layer(breaker()).wait_when_open(WaitIn::PollReady)).collect();
    let calls = Arc::new(AtomicU32::new(0));
    let endpoint = |(n, layer): (u32, &CircuitBreakerLayer<AsAnswered>)| {
        let calls = Arc::clone(&calls);
        let service = layer.layer(service_fn(move |_: ()| {
            calls.fetch_add(u32::from(n == 0), Ordering::Relaxed);
            ready(Ok::<_, Error>(if n == 0 { FAILED } else { OK }))
        }));
        Constant::new(service, 1)
    };
    let mut balance = Balance::new(ServiceList::new((0..).zip(&breakers).map(endpoint)));
    let mut failed = 0;
    for _ in 0..1000 {
        let verdict = balance.ready().await.unwrap().call(()).await.unwrap();
        failed += u32::from(verdict != OK);
    }
    assert_eq!(breakers[0].handle().state(), CircuitState::Open);
    assert_eq!(failed, calls.load(Ordering::Relaxed));
    // The first call opens it for a second. Each second allows one probe.
    let begun = breakers[0].handle().transitions(CircuitState::HalfOpen) as u32;
    assert_eq!(failed, 1 + begun, "of 1,000");
}

/// A rejection in `LoadShed` above a stack is no attempt, whatever box it is in.
#[tokio::test]
async fn rejections_in_boxes_are_no_failures() {
    let inner = CircuitBreakerLayer::new(breaker(), HttpStatus::default()).unwrap();
    let outer = CircuitBreakerLayer::new(breaker(), HttpStatus::default()).unwrap();
    let service = service_fn(|_: ()| ready(Ok::<_, BoxError>(http::Response::new(()))));
    let service = outer.layer(inner.layer(service));
    inner.handle().force_open();
    for _ in 0..10 {
        service.clone().oneshot(()).await.unwrap_err();
    }
    assert_eq!((outer.handle().state(), outer.handle().rejected()), (CircuitState::Closed, 0));
}

//! The circuit breaker as a user puts it round a service. Time is failsafe's own, frozen and moved by hand.

#[path = "support/layers.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use failsafe::clock;
use posthog_health::layers::CircuitState;
use posthog_health::layers::{
    CircuitBreakerConfig, CircuitBreakerHandle, CircuitBreakerLayer, Verdict, WaitIn,
};
use posthog_health::{Error, ErrorKind};
use support::{AsAnswered, FAILED, OK, THROTTLED};
use tokio::sync::Notify;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt, service_fn};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::default().window(10).min_calls(5).open_time(MS(1000), MS(10_000))
}

/// A breaker round a service that answers what it is asked.
fn echo(
    config: CircuitBreakerConfig,
) -> (impl Service<Verdict, Response = Verdict, Error = Error> + Clone, CircuitBreakerHandle) {
    let layer = CircuitBreakerLayer::new(config, AsAnswered).unwrap();
    let service = layer.layer(service_fn(|verdict: Verdict| async move { Ok::<_, Error>(verdict) }));
    (service, layer.handle())
}

/// The answer, or the time until the next probe if the call was rejected.
fn call<S>(service: &S, verdict: Verdict) -> Result<Verdict, Option<Duration>>
where
    S: Service<Verdict, Response = Verdict, Error = Error> + Clone,
{
    let mut call = task::spawn(service.clone().oneshot(verdict));
    assert_ready!(call.poll()).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::CircuitOpen);
        error.retry_after()
    })
}

fn times<S>(n: usize, service: &S, verdict: Verdict)
where
    S: Service<Verdict, Response = Verdict, Error = Error> + Clone,
{
    for _ in 0..n {
        call(service, verdict).unwrap();
    }
}

#[test]
fn opens_when_the_failure_rate_is_reached_and_not_before() {
    clock::freeze(|_| {
        let (service, breaker) = echo(config());
        times(4, &service, FAILED);
        assert_eq!(breaker.state(), CircuitState::Closed, "four calls are too few to judge");
        times(1, &service, FAILED);
        assert_eq!(breaker.state(), CircuitState::Open);
        let retry_in = call(&service, OK).unwrap_err().unwrap();
        assert!(retry_in <= MS(1000) && retry_in >= MS(900));
    });
}

#[test]
fn the_window_slides_so_old_successes_do_not_hide_new_failures() {
    clock::freeze(|_| {
        let (service, breaker) = echo(config().window(20));
        times(1000, &service, OK);
        times(9, &service, FAILED);
        assert_eq!(breaker.state(), CircuitState::Closed);
        times(1, &service, FAILED);
        assert_eq!(breaker.state(), CircuitState::Open);
    });
}

#[test]
fn a_probe_closes_it_or_opens_it_for_longer() {
    clock::freeze(|time| {
        let (service, breaker) = echo(config());
        times(5, &service, FAILED);
        let mut longest = MS(0);
        for full in [2000, 4000, 8000, 10_000, 10_000] {
            time.advance(MS(10_001));
            call(&service, FAILED).unwrap();
            assert_eq!(breaker.state(), CircuitState::Open);
            let wait = breaker.retry_in().unwrap();
            assert!(wait <= MS(full) && wait >= MS(full * 9 / 10), "{wait:?} of {full}");
            longest = longest.max(wait);
        }
        time.advance(longest + MS(2001));
        call(&service, OK).unwrap();
        assert_eq!(breaker.state(), CircuitState::Closed);
        assert_eq!(breaker.retry_in(), None);

        // Recovery forgets the failures and the growth; the probe's success is the first of a new window.
        times(3, &service, FAILED);
        assert_eq!(breaker.state(), CircuitState::Closed);
        times(1, &service, FAILED);
        assert!(breaker.retry_in().unwrap() <= MS(1000));
    });
}

#[test]
fn the_open_time_never_undercuts_a_retry_after() {
    clock::freeze(|time| {
        let (service, breaker) = echo(config());
        times(1, &service, Verdict::Failed { retry_after: Some(MS(60_000)) });
        time.advance(MS(20_000));
        times(4, &service, FAILED);
        assert_eq!(breaker.retry_in(), Some(MS(40_000)));
        time.advance(MS(40_001));
        call(&service, Verdict::Failed { retry_after: Some(MS(30_000)) }).unwrap();
        assert_eq!(breaker.retry_in(), Some(MS(30_000)));
    });
}

#[test]
fn throttling_alone_never_opens_it_and_a_refusal_proves_life() {
    clock::freeze(|time| {
        let (service, breaker) = echo(config());
        times(1000, &service, THROTTLED);
        times(1000, &service, Verdict::Refused);
        assert_eq!(breaker.state(), CircuitState::Closed);
        times(5, &service, FAILED);
        assert_eq!(breaker.state(), CircuitState::Open);

        time.advance(MS(1001));
        call(&service, THROTTLED).unwrap();
        assert_eq!(breaker.state(), CircuitState::HalfOpen, "a 429 says nothing about recovery");
        call(&service, Verdict::Refused).unwrap();
        assert_eq!(breaker.state(), CircuitState::Closed);
    });
}

/// Calls that stay under way until the test answers them.
fn held(
    config: CircuitBreakerConfig,
) -> (
    impl Service<Verdict, Response = Verdict, Error = Error> + Clone,
    tower_test::mock::Handle<Verdict, Verdict>,
    CircuitBreakerHandle,
) {
    let layer = CircuitBreakerLayer::new(config, AsAnswered).unwrap();
    let (mock, handle) = tower_test::mock::pair::<Verdict, Verdict>();
    (layer.layer(mock.map_err(Error::from)), handle, layer.handle())
}

macro_rules! answer {
    ($handle:expr) => {{
        let request = task::spawn($handle.next_request()).poll();
        let Poll::Ready(Some((verdict, send))) = request else { panic!("no request") };
        send.send_response(verdict);
    }};
}

#[test]
fn a_dropped_probe_gives_its_permit_back() {
    clock::freeze(|time| {
        let (service, mut handle, breaker) = held(config().window(1).min_calls(1));
        handle.allow(100);
        let mut failing = task::spawn(service.clone().oneshot(FAILED));
        assert_pending!(failing.poll());
        answer!(handle);
        assert_ready!(failing.poll()).unwrap();
        time.advance(MS(1001));

        let mut probe = task::spawn(service.clone().oneshot(OK));
        assert_pending!(probe.poll());
        assert_eq!(breaker.state(), CircuitState::HalfOpen);
        assert_eq!(call(&service, OK), Err(None), "one probe at a time");

        drop(probe);
        let mut next = task::spawn(service.clone().oneshot(OK));
        assert_pending!(next.poll());
        let _abandoned = task::spawn(handle.next_request()).poll();
        answer!(handle);
        assert_ready!(next.poll()).unwrap();
        assert_eq!(breaker.state(), CircuitState::Closed);
    });
}

#[test]
fn results_of_calls_from_an_earlier_state_do_not_count() {
    clock::freeze(|time| {
        let (service, mut handle, breaker) = held(config().window(1).min_calls(1));
        handle.allow(100);
        let mut late_failure = task::spawn(service.clone().oneshot(FAILED));
        let mut late_success = task::spawn(service.clone().oneshot(OK));
        let mut opening = task::spawn(service.clone().oneshot(FAILED));
        for call in [&mut late_failure, &mut late_success, &mut opening] {
            assert_pending!(call.poll());
        }
        let requests: Vec<_> = (0..3)
            .map(|_| match task::spawn(handle.next_request()).poll() {
                Poll::Ready(Some(request)) => request,
                _ => panic!("no request"),
            })
            .collect();
        let mut requests = requests.into_iter();
        let (late_failure_request, late_success_request) =
            (requests.next().unwrap(), requests.next().unwrap());
        let opening_request = requests.next().unwrap();
        opening_request.1.send_response(FAILED);
        assert_ready!(opening.poll()).unwrap();
        assert_eq!(breaker.state(), CircuitState::Open);

        time.advance(MS(1001));
        let mut probe = task::spawn(service.clone().oneshot(OK));
        assert_pending!(probe.poll());
        assert_eq!(breaker.state(), CircuitState::HalfOpen);
        late_success_request.1.send_response(OK);
        assert_ready!(late_success.poll()).unwrap();
        late_failure_request.1.send_response(FAILED);
        assert_ready!(late_failure.poll()).unwrap();
        assert_eq!(breaker.state(), CircuitState::HalfOpen, "only the probe decides");
        answer!(handle);
        assert_ready!(probe.poll()).unwrap();
        assert_eq!(breaker.state(), CircuitState::Closed);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn half_open_admits_exactly_n_of_a_thousand_simultaneous_calls() {
    for probes in [1, 3] {
        let reached = Arc::new(AtomicUsize::new(0));
        let release = Arc::new(Notify::new());
        let layer = CircuitBreakerLayer::new(
            config().window(1).min_calls(1).open_time(MS(1), MS(1)).probes(probes),
            AsAnswered,
        )
        .unwrap();
        let service = {
            let (reached, release) = (Arc::clone(&reached), Arc::clone(&release));
            layer.layer(service_fn(move |verdict: Verdict| {
                let (reached, release) = (Arc::clone(&reached), Arc::clone(&release));
                async move {
                    if verdict == OK {
                        reached.fetch_add(1, Ordering::SeqCst);
                        release.notified().await;
                    }
                    Ok::<_, Error>(verdict)
                }
            }))
        };
        service.clone().oneshot(FAILED).await.unwrap();
        while layer.handle().retry_in() != Some(Duration::ZERO) {
            tokio::task::yield_now().await;
        }
        let start = Arc::new(tokio::sync::Barrier::new(1000));
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..1000 {
            let (service, start) = (service.clone(), Arc::clone(&start));
            calls.spawn(async move {
                start.wait().await;
                service.oneshot(OK).await
            });
        }
        let mut rejected = 0;
        while rejected < 1000 - probes as usize {
            assert!(calls.join_next().await.unwrap().unwrap().is_err());
            rejected += 1;
        }
        assert_eq!(reached.load(Ordering::SeqCst), probes as usize);
        release.notify_waiters();
        while let Some(probe) = calls.join_next().await {
            assert!(probe.unwrap().is_ok());
        }
        assert_eq!(layer.handle().state(), CircuitState::Closed);
    }
}

#[tokio::test]
async fn a_waiting_call_goes_when_a_probe_is_due() {
    // Longer than a busy machine takes to get to the assertion.
    let layer =
        CircuitBreakerLayer::new(config().window(1).min_calls(1).open_time(MS(500), MS(500)), AsAnswered)
            .unwrap()
            .wait_when_open(WaitIn::Call);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let service = layer.layer(service_fn(move |verdict: Verdict| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { Ok::<_, Error>(verdict) }
    }));
    service.clone().oneshot(FAILED).await.unwrap();

    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..10 {
        waiting.spawn(service.clone().oneshot(OK));
    }
    // A waiting call that is dropped leaves the queue and takes nothing with it.
    let mut dropped = task::spawn(service.clone().oneshot(OK));
    assert_pending!(dropped.poll());
    drop(dropped);

    while let Some(call) = waiting.join_next().await {
        assert_eq!(call.unwrap().unwrap(), OK);
    }
    assert_eq!(calls.load(Ordering::SeqCst), 11);
    assert_eq!(layer.handle().state(), CircuitState::Closed);
}

#[tokio::test]
async fn a_waiting_call_goes_when_the_probe_before_it_is_dropped() {
    let config = config().window(1).min_calls(1).open_time(MS(1), MS(1));
    let probes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&probes);
    let service = CircuitBreakerLayer::new(config, AsAnswered).unwrap().wait_when_open(WaitIn::Call).layer(
        service_fn(move |verdict: Verdict| {
            let is_first_probe = verdict == OK && counted.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                if is_first_probe {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Error>(verdict)
            }
        }),
    );
    service.clone().oneshot(FAILED).await.unwrap();
    let probe = tokio::spawn(service.clone().oneshot(OK));
    while probes.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let mut waiting = task::spawn(service.oneshot(OK));
    assert_pending!(waiting.poll());
    probe.abort();
    let answer = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    assert_eq!(answer.expect("it is told that the permit is free").unwrap(), OK);
}

#[tokio::test]
async fn subscribers_see_the_states() {
    let (service, breaker) = echo(config().window(1).min_calls(1).open_time(MS(1), MS(1)));
    let mut states = breaker.subscribe();
    service.clone().oneshot(FAILED).await.unwrap();
    states.changed().await.unwrap();
    assert_eq!(*states.borrow_and_update(), CircuitState::Open);
    while service.clone().oneshot(OK).await.is_err() {
        tokio::task::yield_now().await;
    }
    states.changed().await.unwrap();
    assert_eq!(*states.borrow_and_update(), CircuitState::Closed);
}

#[test]
fn impossible_configurations_are_named() {
    let field = |config| CircuitBreakerLayer::new(config, AsAnswered).unwrap_err().field();
    assert_eq!(field(config().window(0)), "circuit_breaker.window");
    assert_eq!(field(config().min_calls(11)), "circuit_breaker.min_calls");
    assert_eq!(field(config().failure_rate(0.0)), "circuit_breaker.failure_rate");
    assert_eq!(field(config().failure_rate(f64::NAN)), "circuit_breaker.failure_rate");
    assert_eq!(field(config().open_time(MS(0), MS(1))), "circuit_breaker.open_time.first");
    assert_eq!(field(config().open_time(MS(2), MS(1))), "circuit_breaker.open_time.longest");
    assert_eq!(field(config().probes(0)), "circuit_breaker.probes");
}

//! What `poll_ready` decides holds in `call`, and a call that does not go through holds nothing.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use posthog_health::layers::{CircuitState, RateLimitConfig, RateLimitLayer, WaitIn};
use posthog_health::{Error, ErrorKind};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::limit::ConcurrencyLimitLayer;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_test::mock::{self, Spawn};

use crate::support::{AsAnswered, FAILED, OK};
use crate::{MS, breaker, layer};

type Verdict = posthog_health::layers::Verdict;

macro_rules! kind_of {
    ($call:expr) => {
        assert_ready!(task::spawn($call).poll()).unwrap_err().kind()
    };
}

/// A service with room for one call, as it is answered.
fn one_at_a_time() -> impl Service<Verdict, Response = Verdict, Error = Error, Future: Send> + Clone {
    ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(|verdict: Verdict| ready(Ok::<_, Error>(verdict))))
}

#[test]
fn a_rejected_call_gives_back_the_permit_of_the_service() {
    let layer = layer(breaker());
    let service = layer.layer(one_at_a_time());
    let (mut idle, mut other) = (Spawn::new(service.clone()), Spawn::new(service));
    assert_ready_ok!(idle.poll_ready());
    layer.handle().force_open();
    assert_eq!(kind_of!(idle.call(OK)), ErrorKind::CircuitOpen);
    layer.handle().reset();
    assert_ready_ok!(other.poll_ready(), "the rejected handle is idle, and has no permit");
}

#[test]
fn a_handle_that_was_waiting_for_the_service_when_it_is_rejected_leaves_the_line() {
    let layer = layer(breaker());
    let service = layer.layer(one_at_a_time());
    let [mut busy, mut idle, mut other] = [(); 3].map(|()| Spawn::new(service.clone()));
    assert_ready_ok!(busy.poll_ready());
    assert_pending!(idle.poll_ready());
    layer.handle().force_open();
    assert!(idle.is_woken());
    assert_ready_ok!(idle.poll_ready());
    assert_eq!(kind_of!(idle.call(OK)), ErrorKind::CircuitOpen);
    layer.handle().reset();
    drop(busy);
    assert_ready_ok!(other.poll_ready(), "the permit does not go to the idle handle");
}

/// `Ready` twice: the first found the breaker closed, and the second did not ask the service.
#[test]
fn a_handle_that_was_ready_when_the_breaker_opened_gives_back_the_permit() {
    for wait_in in [None, Some(WaitIn::Call), Some(WaitIn::PollReady)] {
        let layer =
            wait_in.into_iter().fold(layer(breaker()), |layer, wait_in| layer.wait_when_open(wait_in));
        let inner = one_at_a_time();
        let [mut idle, mut other] = [Spawn::new(layer.layer(inner.clone())), Spawn::new(layer.layer(inner))];
        assert_ready_ok!(idle.poll_ready());
        layer.handle().force_open();
        assert_eq!(idle.poll_ready().is_pending(), wait_in == Some(WaitIn::PollReady));
        layer.handle().reset();
        assert_ready_ok!(other.poll_ready(), "{wait_in:?}");
    }
}

/// The probe would wait for the permit of a call that waits for the probe.
#[test]
fn a_call_that_waits_again_is_not_in_the_line_for_the_service() {
    for wait_in in [WaitIn::Call, WaitIn::PollReady] {
        for opened_before in [true, false] {
            let layer = layer(breaker()).wait_when_open(wait_in);
            let inner = one_at_a_time();
            let [mut busy, mut other] = [(); 2].map(|()| Spawn::new(inner.clone()));
            assert_ready_ok!(busy.poll_ready());
            let mut waiting = task::spawn(layer.layer(inner).oneshot(OK));
            if opened_before {
                layer.handle().force_open();
                assert_pending!(waiting.poll());
                layer.handle().reset();
            }
            assert_pending!(waiting.poll(), "closed, and the service is busy");
            layer.handle().force_open();
            assert_pending!(waiting.poll());
            drop(busy);
            assert_ready_ok!(other.poll_ready(), "{wait_in:?}, {opened_before}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_token_gives_back_the_permit_of_the_service() {
    let config = RateLimitConfig::default().rate(1).burst(1);
    let service = RateLimitLayer::new(config, AsAnswered).unwrap().layer(one_at_a_time());
    service.clone().oneshot(OK).await.unwrap();
    let mut waiting = task::spawn(service.clone().oneshot(OK));
    assert_pending!(waiting.poll());
    assert_ready_ok!(Spawn::new(service.clone()).poll_ready(), "it does not hold the permit");
    assert_eq!(waiting.await.unwrap(), OK);
}

#[test]
fn a_rejection_that_poll_ready_decides_holds_in_call() {
    let layer = layer(breaker());
    let (service, mut handle) = mock::pair::<Verdict, Verdict>();
    handle.allow(0);
    let mut service = Spawn::new(layer.layer(service.map_err(Error::from)));
    layer.handle().force_open();
    assert_ready_ok!(service.poll_ready(), "though the service is not ready");
    layer.handle().reset();
    // The mock panics if it is called before it is ready.
    assert_eq!(kind_of!(service.call(OK)), ErrorKind::CircuitOpen);
    assert_pending!(service.poll_ready(), "decided anew");
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());
}

#[test]
fn an_open_breaker_rejects_at_once_whatever_the_service_does() {
    failsafe::clock::freeze(|time| {
        let layer = layer(breaker());
        let (service, mut handle) = mock::pair::<Verdict, Verdict>();
        let service = layer.layer(service.map_err(Error::from));
        handle.allow(1);
        let mut failing = task::spawn(service.clone().oneshot(FAILED));
        assert_pending!(failing.poll());
        let mut waiting = task::spawn(service.clone().oneshot(OK));
        assert_pending!(waiting.poll(), "closed, and the service is not ready");
        let Poll::Ready(Some((_, answer))) = task::spawn(handle.next_request()).poll() else { panic!() };
        answer.send_response(FAILED);
        assert_ready!(failing.poll()).unwrap();
        assert!(waiting.is_woken());
        assert_eq!(assert_ready!(waiting.poll()).unwrap_err().kind(), ErrorKind::CircuitOpen);
        assert_eq!(kind_of!(service.clone().oneshot(OK)), ErrorKind::CircuitOpen);
        assert_eq!(layer.handle().rejected(), 2);

        // One probe waits for the service, and the others are rejected.
        time.advance(MS(1001));
        let mut probe = task::spawn(service.clone().oneshot(OK));
        assert_pending!(probe.poll());
        assert_eq!(kind_of!(service.clone().oneshot(OK)), ErrorKind::CircuitOpen);
    });
}

/// A service that cannot connect, as `Reconnect` shows it.
#[derive(Clone)]
struct Unconnected;

impl Service<Verdict> for Unconnected {
    type Response = Verdict;
    type Error = Error;
    type Future = Ready<Result<Verdict, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Err(BoxError::from("no connection").into()))
    }

    fn call(&mut self, _: Verdict) -> Self::Future {
        unreachable!("it is never ready")
    }
}

#[test]
fn an_error_of_poll_ready_is_a_failure() {
    failsafe::clock::freeze(|time| {
        let layer = layer(breaker().window(10).min_calls(5));
        let service = layer.layer(Unconnected);
        for _ in 0..5 {
            assert_eq!(layer.handle().state(), CircuitState::Closed);
            assert_ne!(kind_of!(service.clone().oneshot(OK)), ErrorKind::CircuitOpen);
        }
        assert_eq!(layer.handle().state(), CircuitState::Open);
        time.advance(MS(1001));
        assert_ne!(kind_of!(service.clone().oneshot(OK)), ErrorKind::CircuitOpen, "the probe");
        assert_eq!(layer.handle().transitions(CircuitState::Open), 2);
    });
}

#[tokio::test]
async fn an_error_of_poll_ready_is_a_failure_where_calls_wait() {
    for wait_in in [WaitIn::Call, WaitIn::PollReady] {
        let config = breaker().open_time(MS(1), MS(1));
        let layer = layer(config).wait_when_open(wait_in);
        let service = layer.layer(Unconnected);
        for opened in 1..4 {
            assert_ne!(service.clone().oneshot(OK).await.unwrap_err().kind(), ErrorKind::CircuitOpen);
            assert_eq!(layer.handle().transitions(CircuitState::Open), opened);
        }
    }
}

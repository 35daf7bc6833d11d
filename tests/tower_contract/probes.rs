//! How a breaker recovers, and who else decides.

use std::future::{Future, ready};
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use posthog_health::layers::{CircuitBreakerConfig, CircuitBreakerHandle, CircuitState, Verdict, WaitIn};
use posthog_health::{Error, ErrorKind};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::{Layer, ServiceExt, service_fn};
use tower_test::mock::{self, Spawn};

use crate::support::{FAILED, OK};
use crate::{MS, answer, breaker, layer};

#[test]
fn a_hung_probe_opens_it_again_and_another_follows() {
    failsafe::clock::freeze(|time| {
        let layer = layer(breaker().longest_probe(MS(5000)));
        let service = layer.layer(service_fn(answer));
        let call = |asked| {
            let mut call = task::spawn(service.clone().oneshot(asked));
            let polled = call.poll();
            (call, polled)
        };
        assert_ready_ok!(call(Some(FAILED)).1);
        time.advance(MS(1001));
        let (hung, polled) = call(None);
        assert_pending!(polled);
        time.advance(MS(4999));
        assert!(matches!(call(Some(OK)).1, Poll::Ready(Err(_))), "the probe is under way");
        assert_eq!(layer.handle().state(), CircuitState::HalfOpen);
        time.advance(MS(1));
        assert!(matches!(call(Some(OK)).1, Poll::Ready(Err(_))), "it has hung for too long");
        assert_eq!(layer.handle().state(), CircuitState::Open);
        time.advance(MS(1001));
        assert_ready_ok!(call(Some(OK)).1);
        assert_eq!(layer.handle().state(), CircuitState::Closed);
        drop(hung);
        assert_eq!(layer.handle().state(), CircuitState::Closed);
    });
}

#[tokio::test]
async fn who_waits_is_not_held_up_by_a_hung_probe() {
    for wait_in in [WaitIn::Call, WaitIn::PollReady] {
        let config = breaker().open_time(MS(1), MS(1)).longest_probe(MS(20));
        let layer = layer(config).wait_when_open(wait_in);
        let service = layer.layer(service_fn(answer));
        service.clone().oneshot(Some(FAILED)).await.unwrap();
        let hung = tokio::spawn(service.clone().oneshot(None));
        while layer.handle().state() != CircuitState::HalfOpen {
            tokio::task::yield_now().await;
        }
        assert_eq!(service.clone().oneshot(Some(OK)).await.unwrap(), OK);
        assert_eq!(layer.handle().state(), CircuitState::Closed);
        hung.abort();
    }
}

#[test]
fn one_success_among_failures_does_not_close_it() {
    failsafe::clock::freeze(|time| {
        for (config, needed) in
            [(breaker().probes(10), 10), (breaker().probes(10).successes(3), 3), (breaker(), 1)]
        {
            let layer = layer(config);
            let service = layer.layer(service_fn(answer));
            let call = |verdict| task::spawn(service.clone().oneshot(Some(verdict))).poll();
            assert_ready_ok!(call(FAILED));
            for successes in [needed - 1, needed] {
                time.advance(MS(1001));
                for n in 1..=successes {
                    assert_ready_ok!(call(OK));
                    let state = if n < needed { CircuitState::HalfOpen } else { CircuitState::Closed };
                    assert_eq!(layer.handle().state(), state, "{n} of {needed}");
                }
                if successes < needed {
                    assert_ready_ok!(call(FAILED));
                    assert_eq!(layer.handle().state(), CircuitState::Open);
                }
            }
        }
    });
}

#[test]
fn an_idle_handle_loses_its_permit_and_its_call_is_decided_anew() {
    failsafe::clock::freeze(|time| {
        let layer = layer(breaker().longest_probe(MS(5000)));
        let service = layer.layer(service_fn(answer));
        assert_ready_ok!(task::spawn(service.clone().oneshot(Some(FAILED))).poll());
        time.advance(MS(1001));
        let [mut idle, mut other] = [(); 2].map(|()| Spawn::new(service.clone()));
        assert_ready_ok!(idle.poll_ready());
        assert_ready_ok!(other.poll_ready());
        assert!(
            assert_ready!(task::spawn(other.call(Some(OK))).poll()).is_err(),
            "the idle handle has the permit"
        );
        time.advance(MS(5000));
        assert_ready_ok!(other.poll_ready());
        let mut probe = task::spawn(other.call(None));
        assert_pending!(probe.poll());
        assert_eq!(layer.handle().transitions(CircuitState::Open), 1, "an idle handle is no failure");
        assert!(assert_ready!(task::spawn(idle.call(Some(OK))).poll()).is_err());
        drop(probe);
        assert_ready_ok!(other.poll_ready());
        assert_ready_ok!(task::spawn(other.call(Some(OK))).poll());
        assert_eq!(layer.handle().state(), CircuitState::Closed);
    });
}

#[test]
fn failures_hours_apart_do_not_open_it() {
    failsafe::clock::freeze(|time| {
        let layer = layer(CircuitBreakerConfig::default());
        let service = layer.layer(service_fn(answer));
        let fail = || assert_ready_ok!(task::spawn(service.clone().oneshot(Some(FAILED))).poll());
        for _ in 0..100 {
            fail();
            time.advance(MS(3_601_000 / 4));
        }
        assert_eq!(layer.handle().state(), CircuitState::Closed, "four within an hour");
        assert_eq!(layer.handle().failure_rate(), Some(1.0));
        time.advance(MS(3_600_000));
        assert_eq!(layer.handle().failure_rate(), None);
        for _ in 0..5 {
            fail();
        }
        assert_eq!(layer.handle().state(), CircuitState::Open);
    });
}

#[test]
fn an_operator_forces_it_open_and_closed_until_a_reset() {
    failsafe::clock::freeze(|time| {
        let layer = layer(breaker().name("orders"));
        let breaker = layer.handle();
        let service = layer.layer(service_fn(|verdict: Verdict| ready(Ok::<_, Error>(verdict))));
        let call = |verdict| assert_ready!(task::spawn(service.clone().oneshot(verdict)).poll());
        assert_eq!((breaker.name(), breaker.is_forced()), (Some("orders"), false));

        breaker.force_open();
        time.advance(MS(1_000_000));
        let error = call(OK).unwrap_err();
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::CircuitOpen, None));
        assert_eq!(
            (breaker.state(), breaker.retry_in(), breaker.is_forced()),
            (CircuitState::Open, None, true)
        );

        breaker.force_closed();
        for _ in 0..10 {
            call(FAILED).unwrap();
        }
        assert_eq!((breaker.state(), breaker.failure_rate()), (CircuitState::Closed, None));

        breaker.reset();
        assert!(!breaker.is_forced());
        call(FAILED).unwrap();
        assert_eq!(breaker.state(), CircuitState::Open, "results decide again");
        breaker.reset();
        call(OK).unwrap();
        assert_eq!(breaker.rejected(), 1);
    });
}

#[tokio::test]
async fn who_waits_hears_of_an_operator() {
    for wait_in in [WaitIn::Call, WaitIn::PollReady] {
        let layer = layer(breaker()).wait_when_open(wait_in);
        let service = layer.layer(service_fn(answer));
        layer.handle().force_open();
        let mut waiting = task::spawn(service.oneshot(Some(OK)));
        assert_pending!(waiting.poll());
        layer.handle().reset();
        assert!(waiting.is_woken());
        assert_eq!(assert_ready_ok!(waiting.poll()), OK);
    }
}

#[test]
fn a_result_from_before_a_force_counts_for_nothing() {
    let layer = layer(breaker());
    let (service, mut handle) = mock::pair::<Verdict, Verdict>();
    handle.allow(1);
    let mut call = task::spawn(layer.layer(service.map_err(Error::from)).oneshot(FAILED));
    assert_pending!(call.poll());
    layer.handle().reset();
    let Poll::Ready(Some((_, answer))) = task::spawn(handle.next_request()).poll() else { panic!() };
    answer.send_response(FAILED);
    assert_ready_ok!(call.poll());
    assert_eq!(layer.handle().state(), CircuitState::Closed);
}

#[test]
fn an_endless_hint_keeps_it_open() {
    failsafe::clock::freeze(|time| {
        for hint in [Duration::MAX, Duration::from_secs(i64::MAX as u64 / 2)] {
            let layer = layer(breaker());
            let service = layer.layer(service_fn(answer));
            let failed = Verdict::Failed { retry_after: Some(hint) };
            assert_ready_ok!(task::spawn(service.clone().oneshot(Some(failed))).poll());
            time.advance(Duration::from_secs(3600 * 24 * 365));
            assert!(assert_ready!(task::spawn(service.oneshot(Some(OK))).poll()).is_err(), "{hint:?}");
        }
    });
}

/// Reads the breaker as soon as it is woken.
struct Reader(CircuitBreakerHandle);

impl Wake for Reader {
    fn wake(self: Arc<Self>) {
        self.0.failure_rate();
    }
}

/// With the lock held, this would be a deadlock.
#[test]
fn a_subscriber_may_read_the_breaker_while_it_is_woken() {
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let breaker = layer(breaker()).handle();
        let mut states = breaker.subscribe();
        let mut changed = pin!(states.changed());
        let waker = Waker::from(Arc::new(Reader(breaker.clone())));
        assert!(changed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        breaker.force_open();
        assert!(changed.poll(&mut Context::from_waker(&waker)).is_ready());
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_secs(10)).expect("it hangs");
}

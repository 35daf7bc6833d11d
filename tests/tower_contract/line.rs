//! Who gets which token: first come, first served, at the full rate.

use std::future::{Future, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use posthog_health::layers::{RateLimitConfig, RateLimitHandle, RateLimitLayer, Verdict, WaitIn};
use posthog_health::{Error, ErrorKind};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_test::mock::Spawn;

use crate::support::{AsAnswered, OK, THROTTLED};
use crate::{MS, answer};

trait Limited:
    Service<Verdict, Response = Verdict, Error = Error, Future: Send> + Clone + Send + 'static
{
}
impl<S: Service<Verdict, Response = Verdict, Error = Error, Future: Send> + Clone + Send + 'static> Limited
    for S
{
}

fn limited(config: RateLimitConfig, wait_in: WaitIn) -> (impl Limited, RateLimitHandle) {
    let layer = RateLimitLayer::new(config, AsAnswered).unwrap().wait_in(wait_in);
    (layer.layer(service_fn(|verdict: Verdict| ready(Ok::<_, Error>(verdict)))), layer.handle())
}

fn rate(rate: u32) -> RateLimitConfig {
    RateLimitConfig::default().rate(rate).burst(1)
}

const BOTH: [WaitIn; 2] = [WaitIn::Call, WaitIn::PollReady];

#[tokio::test(start_paused = true)]
async fn callers_have_equal_shares_of_the_full_rate() {
    for wait_in in BOTH {
        for (callers, calls_a_second) in [(20, 200), (100, 1000), (200, 1000)] {
            let (service, _) = limited(rate(calls_a_second), wait_in);
            let shares: Arc<Vec<AtomicU32>> = Arc::new((0..callers).map(|_| AtomicU32::new(0)).collect());
            let (begun, mut all) = (Instant::now(), JoinSet::new());
            for caller in 0..callers {
                let (mut service, shares) = (service.clone(), Arc::clone(&shares));
                all.spawn(async move {
                    while begun.elapsed() < Duration::from_secs(4) {
                        service.ready().await.unwrap().call(OK).await.unwrap();
                        shares[caller].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            sleep(Duration::from_secs(4)).await;
            let shares: Vec<_> = shares.iter().map(|share| share.load(Ordering::Relaxed)).collect();
            let (total, least, most) =
                (shares.iter().sum::<u32>(), *shares.iter().min().unwrap(), *shares.iter().max().unwrap());
            let full = 4 * calls_a_second;
            assert!(
                total >= full * 99 / 100 && total <= full + 2 + calls_a_second / 100,
                "{total} of {full}, {wait_in:?}"
            );
            // The first caller is in line again before the others begin.
            assert!(most - least <= 2, "{callers} callers have {least} to {most} of {total}, {wait_in:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_overtake_and_who_leaves_makes_room() {
    for wait_in in BOTH {
        let (service, _) = limited(rate(10), wait_in);
        service.clone().oneshot(OK).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let (begun, mut calls) = (Instant::now(), Vec::new());
        for n in 0..10 {
            let (call, order) = (service.clone().oneshot(OK), Arc::clone(&order));
            let mut call = task::spawn(async move {
                call.await.unwrap();
                order.lock().unwrap().push((n, begun.elapsed().as_millis() / 100));
            });
            assert_pending!(call.poll());
            calls.push(call);
        }
        // The first, one in the middle, and the last give up.
        for gone in [9, 4, 0] {
            drop(calls.remove(gone));
        }
        let calls: JoinSet<_> = calls.into_iter().collect();
        // The token is there at the same moment as this newcomer.
        sleep(MS(100)).await;
        let newcomer = Arc::clone(&order);
        service.clone().oneshot(OK).await.unwrap();
        newcomer.lock().unwrap().push((99, begun.elapsed().as_millis() / 100));
        calls.join_all().await;
        let order = order.lock().unwrap().clone();
        assert_eq!(order, [(1, 1), (2, 2), (3, 3), (5, 4), (6, 5), (7, 6), (8, 7), (99, 8)], "{wait_in:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_wakes_the_next_in_line() {
    for wait_in in BOTH {
        let (service, _) = limited(rate(10), wait_in);
        service.clone().oneshot(OK).await.unwrap();
        let begun = Instant::now();
        let [first, second] = [(); 2].map(|()| tokio::spawn(service.clone().oneshot(OK)));
        sleep(MS(50)).await;
        first.abort();
        second.await.unwrap().unwrap();
        assert!(begun.elapsed() < MS(110), "{:?}, {wait_in:?}", begun.elapsed());
    }
}

/// Counts how often a future is polled.
async fn counted<F: Future>(polls: Arc<AtomicUsize>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        polls.fetch_add(1, Ordering::Relaxed);
        future.as_mut().poll(cx)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_token_wakes_one_of_a_thousand() {
    for wait_in in BOTH {
        let (service, limiter) = limited(rate(100), wait_in);
        let polls = Arc::<AtomicUsize>::default();
        let mut calls = JoinSet::new();
        for _ in 0..1001 {
            calls.spawn(counted(Arc::clone(&polls), service.clone().oneshot(OK)));
        }
        let begun = Instant::now();
        calls.join_all().await;
        assert!(begun.elapsed() >= MS(10_000) && begun.elapsed() < MS(10_100), "{:?}", begun.elapsed());
        assert_eq!(limiter.waits(), 1000);
        // One poll to get in line, and one with the token.
        let polls = polls.load(Ordering::Relaxed);
        assert!(polls <= 2001 + 10, "{polls} polls, {wait_in:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_not_polled_holds_nobody_up() {
    for wait_in in BOTH {
        let (service, _) = limited(rate(10), wait_in);
        service.clone().oneshot(OK).await.unwrap();
        let mut asleep: Vec<_> = (0..3).map(|_| task::spawn(service.clone().oneshot(OK))).collect();
        for call in &mut asleep {
            assert_pending!(call.poll());
        }
        let begun = Instant::now();
        // They have a token each, and none of them is awake to take it.
        service.clone().oneshot(OK).await.unwrap();
        assert!(begun.elapsed() <= MS(500), "{:?}", begun.elapsed());
        service.clone().oneshot(OK).await.unwrap();
        assert!(begun.elapsed() <= MS(600), "{:?}, {wait_in:?}", begun.elapsed());
        // They keep their places.
        sleep(MS(100)).await;
        assert_ready_ok!(asleep[0].poll());
        assert_pending!(asleep[1].poll());
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_scout_holds_the_others_up_for_ten_seconds() {
    for wait_in in BOTH {
        let layer = RateLimitLayer::new(RateLimitConfig::default(), AsAnswered).unwrap().wait_in(wait_in);
        let service = layer.layer(service_fn(answer));
        service.clone().oneshot(Some(THROTTLED)).await.unwrap();
        sleep(MS(1000)).await;
        let scout = tokio::spawn(service.clone().oneshot(None));
        tokio::task::yield_now().await;
        let begun = Instant::now();
        timeout(MS(11_000), service.clone().oneshot(Some(OK))).await.expect("another scout goes").unwrap();
        assert!(begun.elapsed() >= MS(9_000) && begun.elapsed() < MS(10_100), "{:?}", begun.elapsed());
        assert!(!layer.handle().is_paused());
        scout.abort();
    }
}

/// The first was given up for lost, and its end says nothing about the second.
#[tokio::test(start_paused = true)]
async fn a_scout_that_ends_late_makes_no_room_beside_the_next_one() {
    for wait_in in BOTH {
        let layer = RateLimitLayer::new(RateLimitConfig::default(), AsAnswered).unwrap().wait_in(wait_in);
        let service = layer.layer(service_fn(answer));
        service.clone().oneshot(Some(THROTTLED)).await.unwrap();
        let mut scouts = Vec::new();
        for wait in [MS(1000), MS(10_000)] {
            sleep(wait).await;
            scouts.push(task::spawn(service.clone().oneshot(None)));
            assert_pending!(scouts.last_mut().unwrap().poll());
        }
        drop(scouts.remove(0));
        let begun = Instant::now();
        service.clone().oneshot(Some(OK)).await.unwrap();
        assert!(begun.elapsed() >= MS(9_990), "{:?}, {wait_in:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_no_longer_than_it_may() {
    for wait_in in BOTH {
        let (service, limiter) = limited(rate(10).longest_wait(MS(250)), wait_in);
        let begun = Instant::now();
        let calls: JoinSet<_> = (0..5).map(|_| service.clone().oneshot(OK)).collect();
        let (taken, rejected): (Vec<_>, Vec<_>) = calls.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!((taken.len(), rejected.len(), limiter.rejected()), (3, 2, 2), "{wait_in:?}");
        let error = rejected.into_iter().next().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimitExceeded);
        assert!(error.retry_after().unwrap() <= MS(400));
        assert!(begun.elapsed() < MS(210), "those that would wait too long are rejected at once");

        // A pause is a wait as well.
        sleep(MS(1000)).await;
        service.clone().oneshot(Verdict::Throttled { retry_after: Some(MS(2000)) }).await.unwrap();
        let begun = Instant::now();
        let error = service.clone().oneshot(OK).await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (ErrorKind::RateLimitExceeded, MS(0)));
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_have_left_the_line_count_for_no_wait() {
    for wait_in in BOTH {
        let (service, _) = limited(rate(10).longest_wait(MS(1000)), wait_in);
        service.clone().oneshot(OK).await.unwrap();
        let mut first = task::spawn(service.clone().oneshot(OK));
        assert_pending!(first.poll());
        for _ in 0..100 {
            assert_pending!(task::spawn(service.clone().oneshot(OK)).poll());
        }
        let mut second = task::spawn(service.clone().oneshot(OK));
        assert_pending!(second.poll());
        // An executor may poll it at any time.
        assert_pending!(second.poll(), "{wait_in:?}");
        first.await.unwrap();
        second.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_wait_a_call_is_rejected() {
    for wait_in in BOTH {
        let (service, limiter) = limited(rate(10).longest_wait(Duration::ZERO), wait_in);
        service.clone().oneshot(OK).await.unwrap();
        assert_eq!(service.clone().oneshot(OK).await.unwrap_err().kind(), ErrorKind::RateLimitExceeded);
        assert_eq!((limiter.rejected(), limiter.waits()), (1, 0));
        sleep(MS(100)).await;
        service.clone().oneshot(OK).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_for_an_hour() {
    let hour = Duration::from_secs(3600);
    let (service, _) = limited(RateLimitConfig::default().rate(1_200).per(hour).burst(10), WaitIn::Call);
    let begun = Instant::now();
    for _ in 0..1_210 {
        service.clone().oneshot(OK).await.unwrap();
    }
    assert!(begun.elapsed() >= hour && begun.elapsed() < hour + MS(100), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_idle_handle_loses_its_token_and_its_call_waits_for_another() {
    let (service, _) = limited(rate(10), WaitIn::PollReady);
    let mut idle = Spawn::new(service.clone());
    assert_ready_ok!(idle.poll_ready());
    sleep(MS(999)).await;
    // In time.
    assert_ready_ok!(task::spawn(idle.call(OK)).poll());
    sleep(MS(100)).await;
    assert_ready_ok!(idle.poll_ready());
    sleep(MS(1000)).await;
    service.clone().oneshot(OK).await.unwrap();
    let mut call = task::spawn(idle.call(OK));
    assert_pending!(call.poll(), "the token of a second ago is void");
    assert!(matches!(timeout(MS(110), call).await, Ok(Ok(OK))));
}

/// A pause has put all their timers off.
#[tokio::test(start_paused = true)]
async fn after_a_scout_nobody_waits_for_one_that_is_not_polled() {
    for wait_in in BOTH {
        let layer = RateLimitLayer::new(rate(10), AsAnswered).unwrap().wait_in(wait_in);
        let service = layer.layer(service_fn(|verdict: Verdict| async move {
            sleep(MS(500)).await;
            Ok::<_, Error>(verdict)
        }));
        service.clone().oneshot(THROTTLED).await.unwrap();
        sleep(MS(1000)).await;
        let scout = tokio::spawn(service.clone().oneshot(OK));
        tokio::task::yield_now().await;
        let mut asleep = task::spawn(service.clone().oneshot(OK));
        assert_pending!(asleep.poll());
        let call = tokio::spawn(service.clone().oneshot(OK));
        scout.await.unwrap().unwrap();
        let begun = Instant::now();
        call.await.unwrap().unwrap();
        assert!(begun.elapsed() <= MS(500 + 200), "{:?}, {wait_in:?}", begun.elapsed());
    }
}

/// The future is ready as soon as its token is there, so `Poll` tells the rest.
#[tokio::test(start_paused = true)]
async fn a_handle_that_is_polled_again_keeps_its_place() {
    let (service, _) = limited(rate(10), WaitIn::PollReady);
    service.clone().oneshot(OK).await.unwrap();
    let [mut first, mut second] = [(); 2].map(|()| Spawn::new(service.clone()));
    assert_pending!(first.poll_ready());
    assert_pending!(second.poll_ready());
    assert_pending!(first.poll_ready());
    sleep(MS(100)).await;
    assert_pending!(second.poll_ready());
    assert!(matches!(first.poll_ready(), Poll::Ready(Ok(()))));
}

type Call = Pin<Box<dyn Future<Output = Result<Verdict, Error>> + Send>>;

/// The task of a waiting call, which its waker keeps alive.
struct Task {
    _call: Mutex<Call>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

/// With the lock held, this would be a deadlock.
#[tokio::test(start_paused = true)]
async fn a_waker_may_be_the_last_owner_of_another_call() {
    let (service, _) = limited(rate(10), WaitIn::Call);
    service.clone().oneshot(OK).await.unwrap();
    let mut other = Box::pin(service.clone().oneshot(OK));
    assert!(other.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let task = Arc::new(Task { _call: Mutex::new(other) });
    let mut call = Box::pin(service.clone().oneshot(OK));
    assert!(call.as_mut().poll(&mut Context::from_waker(&Waker::from(task))).is_pending());
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let begun = Instant::now();
    call.await.unwrap();
    assert!(begun.elapsed() <= MS(101), "the other call has left the line: {:?}", begun.elapsed());
}

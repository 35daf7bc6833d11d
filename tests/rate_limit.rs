//! The rate limit as a user puts it round a service, under a paused clock.

#[path = "support/layers.rs"]
mod support;

use std::task::Poll;
use std::time::Duration;

use posthog_health::Error;
use posthog_health::layers::{RateLimitConfig, RateLimitLayer, Verdict};
use support::{AsAnswered, FAILED, OK, THROTTLED};
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt, service_fn};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn limited(
    config: RateLimitConfig,
) -> impl Service<Verdict, Response = Verdict, Error = Error, Future: Send> + Clone + Send {
    RateLimitLayer::new(config, AsAnswered).unwrap().layer(service_fn(|verdict: Verdict| async move {
        // Calls that are let pass together are under way together.
        tokio::task::yield_now().await;
        Ok::<_, Error>(verdict)
    }))
}

/// How long a call waits.
async fn wait<S>(service: &S, verdict: Verdict) -> Duration
where
    S: Service<Verdict, Response = Verdict, Error = Error> + Clone,
{
    let start = Instant::now();
    service.clone().oneshot(verdict).await.unwrap();
    start.elapsed()
}

fn roughly(seen: Duration, expected: u64) -> bool {
    seen >= MS(expected) && seen <= MS(expected + 5)
}

#[tokio::test(start_paused = true)]
async fn a_burst_passes_and_then_the_rate_holds_for_all_clones_together() {
    let service = limited(RateLimitConfig::default().rate(10).burst(5));
    for _ in 0..5 {
        assert_eq!(wait(&service, OK).await, MS(0));
    }
    let start = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        calls.spawn(service.clone().oneshot(OK));
    }
    calls.join_all().await;
    assert!(roughly(start.elapsed(), 2000), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_429_pauses_everybody_for_as_long_as_the_server_asked() {
    let service = limited(RateLimitConfig::default());
    wait(&service, Verdict::Throttled { retry_after: Some(MS(7000)) }).await;
    assert!(roughly(wait(&service.clone(), OK).await, 7000));
    assert_eq!(wait(&service, OK).await, MS(0));
}

#[tokio::test(start_paused = true)]
async fn without_a_hint_the_pause_doubles_until_a_success() {
    let service = limited(RateLimitConfig::default().pause(MS(1000), MS(3000)));
    assert_eq!(wait(&service, THROTTLED).await, MS(0));
    for pause in [1000, 2000, 3000, 3000] {
        let waited = wait(&service, THROTTLED).await;
        assert!(roughly(waited, pause), "{waited:?} for {pause}");
    }
    assert!(roughly(wait(&service, OK).await, 3000));
    wait(&service, THROTTLED).await;
    assert!(roughly(wait(&service, Verdict::Refused).await, 1000), "a success ends the episode");
    wait(&service, THROTTLED).await;
    assert!(roughly(wait(&service, OK).await, 1000), "and so does a refusal");
}

#[tokio::test(start_paused = true)]
async fn answers_that_come_within_a_pause_do_not_make_the_next_longer_and_those_after_it_do() {
    let service = limited(RateLimitConfig::default());
    let mut calls = tokio::task::JoinSet::new();
    (0..5).for_each(|_| {
        calls.spawn(service.clone().oneshot(THROTTLED));
    });
    calls.join_all().await;
    assert!(roughly(wait(&service, THROTTLED).await, 1000), "five at once are one");
    tokio::time::sleep(MS(2500)).await;
    assert_eq!(wait(&service, THROTTLED).await, MS(0), "two seconds are over");
    assert!(roughly(wait(&service, OK).await, 4000));
}

#[tokio::test(start_paused = true)]
async fn it_is_paused_from_the_429_until_the_service_answers_again() {
    let layer = RateLimitLayer::new(RateLimitConfig::default(), AsAnswered).unwrap();
    let service = layer.layer(service_fn(|verdict: Verdict| async move { Ok::<_, Error>(verdict) }));
    for (verdict, is_paused) in [(OK, false), (THROTTLED, true), (FAILED, true), (OK, false), (OK, false)] {
        wait(&service, verdict).await;
        assert_eq!(layer.handle().is_paused(), is_paused, "{verdict:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn neither_a_shorter_hint_nor_an_earlier_calls_success_ends_a_pause_and_failures_do_not_pause() {
    let throttled = |ms| Verdict::Throttled { retry_after: Some(MS(ms)) };
    assert_eq!(wait(&limited(RateLimitConfig::default()), FAILED).await, MS(0));
    for other in [throttled(2000), OK] {
        // Whichever of the two is answered first.
        for both in [[throttled(9000), other], [other, throttled(9000)]] {
            let service = limited(RateLimitConfig::default());
            let mut calls = tokio::task::JoinSet::new();
            for verdict in both {
                calls.spawn(service.clone().oneshot(verdict));
            }
            calls.join_all().await;
            assert!(roughly(wait(&service, OK).await, 9000), "{both:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_endless_hint_is_kept_and_does_not_panic() {
    let service = limited(RateLimitConfig::default());
    wait(&service, Verdict::Throttled { retry_after: Some(Duration::MAX) }).await;
    let a_year = Duration::from_secs(60 * 60 * 24 * 365);
    assert!(tokio::time::timeout(a_year, service.oneshot(OK)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_waiting_call_takes_no_token() {
    let service = limited(RateLimitConfig::default().rate(1).burst(1));
    wait(&service, OK).await;
    let mut waiting = task::spawn(service.clone().oneshot(OK));
    assert_pending!(waiting.poll());
    drop(waiting);
    assert!(roughly(wait(&service, OK).await, 1000));
}

#[tokio::test(start_paused = true)]
async fn a_503_with_a_hint_pauses_everybody_too() {
    let service = limited(RateLimitConfig::default());
    wait(&service, Verdict::Failed { retry_after: Some(MS(5000)) }).await;
    assert!(roughly(wait(&service, OK).await, 5000));
    assert_eq!(wait(&service, OK).await, MS(0));
}

/// A pause must not end in a herd.
#[tokio::test(start_paused = true)]
async fn after_a_pause_one_scout_goes_and_the_others_wait_for_its_answer() {
    let (mock, mut handle) = tower_test::mock::pair::<Verdict, Verdict>();
    let layer = RateLimitLayer::new(RateLimitConfig::default(), AsAnswered).unwrap();
    let service = layer.layer(mock.map_err(Error::from));
    handle.allow(100);
    let mut requests = Vec::new();
    let mut arrived = || {
        let before = requests.len();
        while let Poll::Ready(Some(request)) = task::spawn(handle.next_request()).poll() {
            requests.push(Some(request.1));
        }
        (requests.len() - before, requests.last_mut().and_then(Option::take))
    };
    let mut throttled = task::spawn(service.clone().oneshot(THROTTLED));
    assert_pending!(throttled.poll());
    arrived().1.unwrap().send_response(THROTTLED);
    assert_ready!(throttled.poll()).unwrap();

    let mut calls: Vec<_> = (0..10).map(|_| task::spawn(service.clone().oneshot(OK))).collect();
    calls.iter_mut().for_each(|call| assert_pending!(call.poll()));
    assert_eq!(arrived().0, 0, "in the pause nobody goes");
    tokio::time::advance(MS(1001)).await;
    calls.iter_mut().for_each(|call| assert_pending!(call.poll()));
    let (scouts, _lost) = arrived();
    assert_eq!(scouts, 1);

    drop(calls.remove(0));
    calls.iter_mut().for_each(|call| assert_pending!(call.poll()));
    let (scouts, scout) = arrived();
    assert_eq!(scouts, 1, "a scout that is dropped is followed by another");

    scout.unwrap().send_response(OK);
    let done = calls.iter_mut().filter_map(|call| call.poll().is_ready().then_some(())).count();
    calls.retain(|call| call.is_woken());
    calls.iter_mut().for_each(|call| assert_pending!(call.poll()));
    assert_eq!((done, arrived().0), (1, 8), "one that succeeds by all");
}

#[test]
fn impossible_configurations_are_named() {
    let field = |config| RateLimitLayer::new(config, AsAnswered).unwrap_err().field();
    assert_eq!(field(RateLimitConfig::default().rate(0)), "rate_limit.rate");
    assert_eq!(field(RateLimitConfig::default().burst(0)), "rate_limit.burst");
    assert_eq!(field(RateLimitConfig::default().rate(u32::MAX)), "rate_limit.rate");
    assert_eq!(field(RateLimitConfig::default().pause(MS(0), MS(1))), "rate_limit.pause.first");
    assert_eq!(field(RateLimitConfig::default().pause(MS(2), MS(1))), "rate_limit.pause.longest");
}

/// A call that has ended may be kept by whoever made it.
#[tokio::test(start_paused = true)]
async fn a_scout_is_back_when_its_answer_is_there_though_its_future_is_not_dropped() {
    let service = limited(RateLimitConfig::default().pause(MS(10), MS(10)));
    wait(&service, THROTTLED).await;
    tokio::time::sleep(MS(10)).await;
    let mut scout = std::pin::pin!(service.clone().ready().await.unwrap().call(FAILED));
    scout.as_mut().await.unwrap();
    let next = tokio::time::timeout(MS(1000), service.clone().oneshot(OK)).await;
    assert!(next.is_ok(), "it waits for a scout that has been back for long");
}

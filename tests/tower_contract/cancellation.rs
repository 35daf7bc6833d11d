//! Whoever gives up, and wherever, leaves nothing behind.

use std::time::Duration;

use posthog_health::Error;
use posthog_health::layers::{CircuitState, RateLimitConfig, RateLimitLayer, Verdict, WaitIn};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower::limit::ConcurrencyLimitLayer;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::support::{AsAnswered, FAILED, OK};
use crate::{MS, breaker, layer};

const LIMIT: usize = 4;

/// Eight thousand calls that succeed, fail, are throttled or hang, each dropped at a moment of its own.
#[tokio::test(start_paused = true)]
async fn eight_thousand_calls_that_are_dropped_anywhere() {
    for (seed, wait_in) in [(1, WaitIn::Call), (2, WaitIn::PollReady)] {
        let mut random = fastrand::Rng::with_seed(seed);
        let breaker = layer(breaker().window(10).min_calls(5).open_time(MS(1), MS(5)).probes(2))
            .wait_when_open(wait_in);
        let config = RateLimitConfig::default().rate(2000).burst(5).pause(MS(1), MS(5));
        let limiter = RateLimitLayer::new(config, AsAnswered).unwrap().wait_in(wait_in);
        let handle = breaker.handle();
        let service = ServiceBuilder::new()
            .layer(breaker)
            .layer(limiter)
            .layer(ConcurrencyLimitLayer::new(LIMIT))
            .service(service_fn(|(verdict, takes): (Verdict, Duration)| async move {
                sleep(takes).await;
                Ok::<_, Error>(verdict)
            }));
        let mut calls = JoinSet::new();
        for _ in 0..4000 {
            let verdict = match random.u8(..10) {
                0..4 => FAILED,
                4 => Verdict::Throttled { retry_after: Some(MS(1)) },
                _ => OK,
            };
            let takes = [MS(0), MS(1), MS(5), Duration::MAX][random.usize(..4)];
            let patience = Duration::from_micros(random.u64(..20_000));
            let service = service.clone();
            calls.spawn(async move {
                let _ = timeout(patience, service.oneshot((verdict, takes))).await;
            });
            if random.u8(..4) == 0 {
                sleep(Duration::from_micros(random.u64(..2000))).await;
            }
        }
        while calls.join_next().await.is_some() {}

        // Nothing is missing: as many calls as ever go through at once, and the rate is the old one.
        let mut recovered = false;
        for _ in 0..1000 {
            recovered = timeout(MS(1000), service.clone().oneshot((OK, MS(0)))).await.is_ok();
            if recovered && handle.state() == CircuitState::Closed {
                break;
            }
            // The breaker's open time is real.
            std::thread::yield_now();
        }
        assert!(recovered && handle.state() == CircuitState::Closed, "{:?}, {wait_in:?}", handle.state());
        let begun = Instant::now();
        let mut calls = JoinSet::new();
        (0..LIMIT).for_each(|_| drop(calls.spawn(service.clone().oneshot((OK, MS(1000))))));
        calls.join_all().await;
        assert!(begun.elapsed() < MS(1100), "{:?}, {wait_in:?}", begun.elapsed());
    }
}

//! How it is measured: in rounds, by turns, and the least disturbed round counts.

#![allow(dead_code, reason = "the count of allocations takes no times")]

use std::hint::black_box;
use std::pin::pin;
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tower::{Service, ServiceExt};

use super::subjects::{Call, Measured};

pub(crate) const ROUNDS: usize = 25;
const CALLS: u32 = 100_000;
/// Of each of two tasks: a convoy takes its time.
const SHARED_CALLS: u32 = 20_000;
pub(crate) const WARM_UP: u32 = 2_000;

/// Something to measure: one round of it, in nanoseconds a call.
pub(crate) type Round = Box<dyn Fn() -> f64>;

/// The best and the worst round.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) best: f64,
    pub(crate) worst: f64,
}

/// By turns, so that a disturbance hits all alike.
pub(crate) fn by_turns<const N: usize>(rounds: [Round; N]) -> [Times; N] {
    let mut times = [Times { best: f64::INFINITY, worst: 0.0 }; N];
    for _ in 0..ROUNDS {
        for (times, round) in times.iter_mut().zip(&rounds) {
            let time = round();
            *times = Times { best: times.best.min(time), worst: times.worst.max(time) };
        }
    }
    times
}

/// Polls by hand, once: over a service that costs nothing, only a retry of what failed waits, and is dropped.
pub(crate) fn call<S: Service<Call>>(service: &mut S, call: Call) -> Poll<Result<S::Response, S::Error>> {
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    black_box(pin!(service.call(black_box(call))).poll(&mut context))
}

/// What the calls of a round are.
pub(crate) type Traffic = fn(u32) -> Call;

pub(crate) fn healthy(_: u32) -> Call {
    Call::Succeed
}

/// A tenth fails: too few to open, enough to be counted.
pub(crate) fn a_tenth_fails(n: u32) -> Call {
    if n % 10 == 9 { Call::Fail } else { Call::Succeed }
}

/// Opens what opens, for good.
pub(crate) fn all_fail(_: u32) -> Call {
    Call::Fail
}

fn per_call(time: Duration, calls: u32) -> f64 {
    time.as_nanos() as f64 / f64::from(calls)
}

/// On one thread, after `warm_up`.
pub(crate) fn alone<S: Measured>(
    build: impl Fn() -> S + 'static,
    warm_up: Traffic,
    traffic: Traffic,
) -> Round {
    Box::new(move || {
        let mut service = build();
        (0..WARM_UP).for_each(|n| _ = call(&mut service, warm_up(n)));
        let started = Instant::now();
        (0..CALLS).for_each(|n| _ = call(&mut service, traffic(n)));
        per_call(started.elapsed(), CALLS)
    })
}

async fn calls<S: Measured>(service: &mut S, calls: u32) {
    for _ in 0..calls {
        let ready = service.ready().await.ok().expect("ready");
        let _ = black_box(ready.call(Call::Succeed).await);
    }
}

/// By two tasks of one runtime, each with a clone. Nanoseconds that a task takes for a call of its own.
pub(crate) fn two_tasks<S: Measured>(build: impl Fn() -> S + 'static) -> Round {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    Box::new(move || {
        let service = build();
        runtime.block_on(async {
            let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(2));
            let task = || {
                let (mut service, barrier) = (service.clone(), barrier.clone());
                tokio::spawn(async move {
                    calls(&mut service, WARM_UP).await;
                    barrier.wait().await;
                    let started = Instant::now();
                    calls(&mut service, SHARED_CALLS).await;
                    started.elapsed()
                })
            };
            let (one, other) = (task(), task());
            let times = (one.await.expect("ends"), other.await.expect("ends"));
            per_call(times.0.max(times.1), SHARED_CALLS)
        })
    })
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// By two runtimes, a thread each.
pub(crate) fn two_runtimes<S: Measured>(build: impl Fn() -> S + 'static) -> Round {
    Box::new(move || {
        let service = current_thread().block_on(async { build() });
        let barrier = Barrier::new(2);
        let run = |mut service: S| {
            current_thread().block_on(async {
                calls(&mut service, WARM_UP).await;
                barrier.wait();
                let started = Instant::now();
                calls(&mut service, SHARED_CALLS).await;
                started.elapsed()
            })
        };
        let slower = thread::scope(|scope| {
            let threads = [service.clone(), service.clone()].map(|service| scope.spawn(|| run(service)));
            threads.map(|thread| thread.join().expect("ends")).into_iter().max()
        });
        per_call(slower.unwrap_or_default(), SHARED_CALLS)
    })
}

/// Probes that close a breaker, one by one: the median of a round's. The clock's own time is in it.
pub(crate) fn probes<S: Measured>(build: impl Fn(Duration) -> S + 'static) -> Round {
    const OPEN: Duration = Duration::from_millis(1);
    const PROBES: usize = 50;
    Box::new(move || {
        let mut service = build(OPEN);
        let mut probe = || {
            (0..10).for_each(|_| _ = call(&mut service, Call::Fail));
            thread::sleep(OPEN + OPEN / 2);
            let started = Instant::now();
            let closed = matches!(call(&mut service, Call::Succeed), Poll::Ready(Ok(_)));
            let took = started.elapsed();
            assert!(closed, "the probe was let pass");
            took
        };
        let mut times: Vec<_> = (0..PROBES).map(|_| probe()).collect();
        times.sort_unstable();
        per_call(times[PROBES / 2], 1)
    })
}

//! What ours and theirs are made of.

use std::future::{Ready, ready};
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use failsafe::{StateMachine, backoff, failure_policy};
use governor::{Quota, RateLimiter};
use tower::retry::budget::{Budget, TpsBudget};
use tower::{BoxError, service_fn};

use super::measure::{Round, alone, healthy};
use super::subjects::{Call, Nothing, Rejected};

/// tower's, without a policy to speak of.
#[derive(Clone)]
struct Never;

impl<Res, Err> tower::retry::Policy<Call, Res, Err> for Never {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Call, _: &mut Result<Res, Err>) -> Option<Ready<()>> {
        None
    }

    fn clone_request(&mut self, call: &Call) -> Option<Call> {
        Some(*call)
    }
}

fn doing<F: FnMut() + Clone + Send + 'static>(work: F) -> Round {
    let does_work = move || {
        let mut work = work.clone();
        service_fn(move |call: Call| {
            work();
            ready(Ok::<_, Rejected>(call))
        })
    };
    alone(does_work, healthy, healthy)
}

pub(crate) fn all() -> Vec<(&'static str, Round)> {
    let backoff = || backoff::constant(Duration::from_secs(3600));
    let consecutive = StateMachine::new(failure_policy::consecutive_failures(5, backoff()), ());
    let window = Duration::from_secs(30);
    let rate = failure_policy::success_rate_over_time_window(0.5, 5, window, backoff());
    let rate = StateMachine::new(rate, ());
    let quota = Quota::per_second(NonZeroU32::MAX);
    let bucket = Arc::new(RateLimiter::direct(quota));
    let budget = Arc::new(TpsBudget::default());
    vec![
        ("nothing", doing(|| {})),
        ("Instant::now()", doing(|| _ = black_box(Instant::now()))),
        ("a boxed future", doing(|| drop(black_box(Box::pin(ready(())))))),
        (
            "failsafe, consecutive failures",
            doing(move || {
                black_box(consecutive.is_call_permitted());
                consecutive.on_success();
            }),
        ),
        (
            "failsafe, success rate",
            doing(move || {
                black_box(rate.is_call_permitted());
                rate.on_success();
            }),
        ),
        ("governor", doing(move || drop(black_box(bucket.check())))),
        ("tower's retry, no budget", alone(|| tower::retry::Retry::new(Never, Nothing), healthy, healthy)),
        ("tower's budget, a deposit", doing(move || budget.deposit())),
        (
            "tower's timeout",
            alone(
                || {
                    let timeout = tower::timeout::Timeout::new(Nothing, Duration::from_secs(10));
                    tower::util::MapErr::new(timeout, |_: BoxError| ())
                },
                healthy,
                healthy,
            ),
        ),
    ]
}

//! What the circuit breaker costs a call, and that the cost does not grow with the calls in its window.
//!
//! `cargo bench --bench layers`

mod support;

use std::future::{Ready, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use posthog_health::Error;
use posthog_health::layers::{CircuitBreakerConfig, CircuitBreakerLayer, Classify, Verdict};
use tower::{Layer, Service};

#[derive(Clone, Copy)]
struct AsAnswered;

impl Classify<Verdict, Error> for AsAnswered {
    fn classify(&self, result: Result<&Verdict, &Error>) -> Verdict {
        result.map_or(Verdict::NotAttempted, |verdict| *verdict)
    }
}

/// A service that costs nothing.
#[derive(Clone)]
struct Nothing;

impl Service<Verdict> for Nothing {
    type Response = Verdict;
    type Error = Error;
    type Future = Ready<Result<Verdict, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, verdict: Verdict) -> Self::Future {
        ready(Ok(verdict))
    }
}

fn call<S: Service<Verdict>>(service: &mut S, verdict: Verdict) {
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    assert!(pin!(service.call(verdict)).poll(&mut context).is_ready());
}

const CALLS: u32 = 500_000;

/// Nanoseconds a call: the best of five rounds, the least disturbed one.
fn measure(mut round: impl FnMut()) -> f64 {
    let best = (0..5).map(|_| {
        let start = Instant::now();
        round();
        start.elapsed()
    });
    best.min().unwrap_or(Duration::ZERO).as_nanos() as f64 / f64::from(CALLS)
}

/// A tenth of the calls fail: too few to open, enough to be counted.
fn mixed<S: Service<Verdict>>(service: &mut S) {
    for n in 0..CALLS {
        let failed = n % 10 == 0;
        call(service, if failed { Verdict::Failed { retry_after: None } } else { Verdict::Success });
    }
}

fn main() -> Result<(), posthog_health::ConfigError> {
    if support::Arguments::read().is_none() {
        return Ok(());
    }
    let bare = measure(|| mixed(&mut Nothing));
    println!("{:>24} {:>10} {:>22}", "calls in the window", "ns a call", "ratio to the smallest");
    let mut smallest = None;
    for window in [10, 100, 1_000, 10_000, 100_000] {
        let config = CircuitBreakerConfig::default().window(window);
        let mut service = CircuitBreakerLayer::new(config, AsAnswered)?.layer(Nothing);
        mixed(&mut service);
        let cost = measure(|| mixed(&mut service)) - bare;
        println!("{window:>24} {cost:>10.1} {:>22.2}", cost / *smallest.get_or_insert(cost));
    }
    let hour = Duration::from_secs(3600);
    let config = CircuitBreakerConfig::default().open_time(hour, hour);
    let mut service = CircuitBreakerLayer::new(config, AsAnswered)?.layer(Nothing);
    (0..10).for_each(|_| call(&mut service, Verdict::Failed { retry_after: None }));
    let cost = measure(|| (0..CALLS).for_each(|_| call(&mut service, Verdict::Success)));
    println!("{:>24} {cost:>10.1}", "open, rejected");
    Ok(())
}

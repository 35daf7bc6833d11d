//! A healthy service's results leave the breaker's window alone. Nobody may notice: the breaker agrees with a
//! model that records them all.

#[path = "support/layers.rs"]
mod support;

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use failsafe::clock;
use posthog_health::Error;
use posthog_health::layers::CircuitState;
use posthog_health::layers::{CircuitBreakerConfig, CircuitBreakerLayer, Verdict};
use proptest::prelude::*;
use support::{AsAnswered, FAILED, OK, THROTTLED};
use tokio_test::{assert_ready, task};
use tower::{Layer, Service, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

fn layer(window: u32, min_calls: u32) -> CircuitBreakerLayer<AsAnswered> {
    let config =
        CircuitBreakerConfig::default().window(window).min_calls(min_calls).open_time(SECOND, SECOND);
    CircuitBreakerLayer::new(config, AsAnswered).unwrap()
}

fn echo(
    layer: &CircuitBreakerLayer<AsAnswered>,
) -> impl Service<Verdict, Response = Verdict, Error = Error> + Clone + Send + use<> {
    layer.layer(service_fn(|verdict: Verdict| std::future::ready(Ok::<_, Error>(verdict))))
}

fn call<S: Service<Verdict> + Clone>(service: &S, verdict: Verdict) -> Result<S::Response, S::Error> {
    assert_ready!(task::spawn(service.clone().oneshot(verdict)).poll())
}

/// The last calls, oldest first: true for a failure.
struct Model {
    last: VecDeque<bool>,
    window: usize,
    min_calls: usize,
    is_open: bool,
}

impl Model {
    fn call(&mut self, verdict: Verdict) {
        let failed = match verdict {
            Verdict::Failed { .. } => true,
            Verdict::Throttled { .. } => return,
            _ => false,
        };
        // A probe: the clock is always moved on.
        if std::mem::take(&mut self.is_open) {
            self.last.clear();
            self.is_open = failed;
        }
        self.last.push_back(failed);
        if self.last.len() > self.window {
            self.last.pop_front();
        }
        let failures = self.last.iter().filter(|failed| **failed).count();
        self.is_open |= failed && self.last.len() >= self.min_calls && 2 * failures >= self.last.len();
    }
}

/// Runs of the same verdict, so that windows fill up with successes.
fn traffic() -> impl Strategy<Value = Vec<Verdict>> {
    let verdict =
        prop_oneof![4 => Just(OK), 3 => Just(FAILED), 1 => Just(THROTTLED), 1 => Just(Verdict::Refused)];
    let run = (verdict, 1usize..25).prop_map(|(verdict, times)| vec![verdict; times]);
    prop::collection::vec(run, 1..30).prop_map(|runs| runs.concat())
}

proptest! {
    #[test]
    fn it_opens_and_closes_exactly_as_if_all_results_were_recorded(
        (window, min_calls) in (1u32..16).prop_flat_map(|window| (Just(window), 1..=window)),
        traffic in traffic(),
    ) {
        clock::freeze(|time| {
            let layer = layer(window, min_calls);
            let (service, breaker) = (echo(&layer), layer.handle());
            let (window, min_calls) = (window as usize, min_calls as usize);
            let mut model = Model { last: VecDeque::new(), window, min_calls, is_open: false };
            for (n, verdict) in traffic.into_iter().enumerate() {
                if breaker.state() == CircuitState::Open {
                    prop_assert!(call(&service, OK).is_err(), "its time is not over");
                    time.advance(SECOND * 2);
                }
                prop_assert!(call(&service, verdict).is_ok());
                model.call(verdict);
                prop_assert_eq!(breaker.state() != CircuitState::Closed, model.is_open, "after call {} ({:?})", n, verdict);
            }
            Ok(())
        })?;
    }
}

#[test]
fn healthy_traffic_of_many_threads_hides_no_failure() {
    let layer = layer(10, 5);
    let service = echo(&layer);
    for _ in 0..20 {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| drop(call(&service, OK))));
            }
        });
        (0..4).for_each(|_| drop(call(&service, FAILED)));
        assert_eq!(layer.handle().state(), CircuitState::Closed);
    }
    call(&service, FAILED).unwrap();
    assert_eq!(layer.handle().state(), CircuitState::Open, "five of ten");
}

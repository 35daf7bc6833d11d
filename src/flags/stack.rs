//! What a request goes through, for flags and for their definitions, and what its answer means there.

use std::time::Duration;

use tower::timeout::TimeoutLayer;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, service_fn};

use super::answer::FlagsAnswer;
use super::definitions::{Ask, DefinitionsEndpoint, Fetched};
use super::endpoint::Endpoint;
use super::options::Question;
use crate::Error;
use crate::layers::{CircuitBreakerLayer, Classify, Observe, ObserveLayer, Verdict};
use crate::monitor::AttemptObserver;
use crate::outcome::{Accepted, DeliveryClassifier};

/// The way to `/flags/`.
pub(super) type FlagsStack = BoxCloneSyncService<Question, FlagsAnswer, Error>;

/// The way to `/flags/definitions/`.
pub(super) type DefinitionsStack = BoxCloneSyncService<Ask, Fetched, Error>;

pub(super) fn of_flags(
    breaker: CircuitBreakerLayer<DeliveryClassifier>,
    watch: AttemptObserver,
    timeout: Duration,
    endpoint: Endpoint,
) -> FlagsStack {
    let stack = ServiceBuilder::new()
        .layer(breaker)
        // Outside the timeout, so that timeouts are seen.
        .layer(ObserveLayer::new(watch))
        .map_err(Error::from)
        .layer(TimeoutLayer::new(timeout))
        .service(service_fn(move |question| endpoint.clone().send(question)));
    FlagsStack::new(stack)
}

/// Nobody waits for definitions, and they are asked for rarely: there is no breaker.
pub(super) fn of_definitions(
    watch: AttemptObserver,
    timeout: Duration,
    endpoint: DefinitionsEndpoint,
) -> DefinitionsStack {
    let stack = ServiceBuilder::new()
        .layer(ObserveLayer::new(watch))
        .map_err(Error::from)
        .layer(TimeoutLayer::new(timeout))
        .service(service_fn(move |ask| endpoint.clone().send(ask)));
    DefinitionsStack::new(stack)
}

impl Classify<FlagsAnswer, Error> for DeliveryClassifier {
    fn classify(&self, result: Result<&FlagsAnswer, &Error>) -> Verdict {
        let accepted = result.map(FlagsAnswer::accepted);
        self.classify(accepted.as_ref().map_err(|error| *error))
    }
}

impl Observe<FlagsAnswer, Error> for AttemptObserver {
    fn attempt(&self, latency: Duration, result: Result<&FlagsAnswer, &Error>) {
        let accepted = result.map(FlagsAnswer::accepted);
        self.attempt(latency, accepted.as_ref().map_err(|error| *error));
    }
}

impl Observe<Fetched, Error> for AttemptObserver {
    fn attempt(&self, latency: Duration, result: Result<&Fetched, &Error>) {
        self.attempt(latency, result.map(|_| &Accepted { over_quota: false }));
    }
}

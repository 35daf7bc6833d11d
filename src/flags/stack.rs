//! What a request goes through, for flags and for their definitions, and what its answer means there.

use std::sync::Arc;
use std::time::Duration;

use tower::timeout::TimeoutLayer;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, service_fn};

use super::answer::FlagsAnswer;
use super::definitions::{Ask, Fetched, fetch};
use super::options::Question;
use crate::Error;
use crate::api::{Accepted, Api, PostHogClassifier};
use crate::layers::{CircuitBreakerLayer, Classify, Observe, ObserveLayer, Verdict};
use crate::monitor::AttemptObserver;

/// The way to `/flags/`.
pub(super) type FlagsStack = BoxCloneSyncService<Question, FlagsAnswer, Error>;

/// The way to `/flags/definitions/`.
pub(super) type DefinitionsStack = BoxCloneSyncService<Ask, Fetched, Error>;

pub(super) fn of_flags(
    breaker: CircuitBreakerLayer<PostHogClassifier>,
    watch: AttemptObserver,
    timeout: Duration,
    api: Arc<Api>,
) -> FlagsStack {
    let stack = ServiceBuilder::new()
        .layer(breaker)
        // Outside the timeout, so that timeouts are seen.
        .layer(ObserveLayer::new(watch))
        .map_err(Error::from)
        .layer(TimeoutLayer::new(timeout))
        .service(service_fn(move |question| ask(Arc::clone(&api), question)));
    FlagsStack::new(stack)
}

/// Nobody waits for definitions, and they are asked for rarely: there is no breaker.
pub(super) fn of_definitions(watch: AttemptObserver, timeout: Duration, api: Arc<Api>) -> DefinitionsStack {
    let stack = ServiceBuilder::new()
        .layer(ObserveLayer::new(watch))
        .map_err(Error::from)
        .layer(TimeoutLayer::new(timeout))
        .service(service_fn(move |ask| fetch(Arc::clone(&api), ask)));
    DefinitionsStack::new(stack)
}

/// One attempt.
async fn ask(api: Arc<Api>, question: Question) -> Result<FlagsAnswer, Error> {
    FlagsAnswer::read(&api.flags(&question).await?)
}

impl Classify<FlagsAnswer, Error> for PostHogClassifier {
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

//! The layers around a request for flags, and what an answer means to them.

use std::time::Duration;

use tower::timeout::TimeoutLayer;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, service_fn};

use super::answer::FlagsAnswer;
use super::endpoint::Endpoint;
use super::options::Question;
use crate::Error;
use crate::layers::{CircuitBreakerLayer, Classify, Observe, ObserveLayer, Verdict};
use crate::monitor::Watch;
use crate::outcome::DeliveryClassifier;

pub type FlagsStack = BoxCloneSyncService<Question, FlagsAnswer, Error>;

pub fn flags_stack(
    breaker: CircuitBreakerLayer<DeliveryClassifier>,
    watch: Watch,
    timeout: Duration,
    endpoint: Endpoint,
) -> FlagsStack {
    let stack = ServiceBuilder::new()
        .layer(breaker)
        // Outside the timeout, so that it sees timeouts.
        .layer(ObserveLayer::new(watch))
        .map_err(Error::from)
        .layer(TimeoutLayer::new(timeout))
        .service(service_fn(move |question| endpoint.clone().send(question)));
    FlagsStack::new(stack)
}

impl Classify<FlagsAnswer, Error> for DeliveryClassifier {
    fn classify(&self, result: Result<&FlagsAnswer, &Error>) -> Verdict {
        let accepted = result.map(FlagsAnswer::accepted);
        self.classify(accepted.as_ref().map_err(|error| *error))
    }
}

impl Observe<FlagsAnswer, Error> for Watch {
    fn attempt(&self, latency: Duration, result: Result<&FlagsAnswer, &Error>) {
        let accepted = result.map(FlagsAnswer::accepted);
        self.attempt(latency, accepted.as_ref().map_err(|error| *error));
    }
}

//! The layers around a request for flags, and what an answer means to them.

use std::sync::Arc;
use std::time::Duration;

use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, service_fn};

use super::answer::FlagsAnswer;
use super::options::Question;
use crate::Error;
use crate::api::{Api, PostHogClassifier};
use crate::layers::{CircuitBreakerLayer, Observe, ObserveLayer, TimeoutLayer};
use crate::monitor::AttemptObserver;

pub type FlagsStack = BoxCloneSyncService<Question, FlagsAnswer, Error>;

pub fn flags_stack(
    breaker: CircuitBreakerLayer<PostHogClassifier>,
    observer: AttemptObserver,
    timeout: Duration,
    api: Arc<Api>,
) -> FlagsStack {
    let stack = ServiceBuilder::new()
        .layer(breaker)
        // Outside the timeout, so that it sees timeouts.
        .layer(ObserveLayer::new(observer))
        .map_err(Error::from)
        .layer(TimeoutLayer::new(timeout))
        .service(service_fn(move |question| ask(Arc::clone(&api), question)));
    FlagsStack::new(stack)
}

/// One attempt.
async fn ask(api: Arc<Api>, question: Question) -> Result<FlagsAnswer, Error> {
    FlagsAnswer::read(&api.flags(&question).await?)
}

impl Observe<FlagsAnswer, Error> for AttemptObserver {
    fn attempt(&self, latency: Duration, result: Result<&FlagsAnswer, &Error>) {
        let accepted = result.map(FlagsAnswer::accepted);
        self.attempt(latency, accepted.as_ref().map_err(|error| *error));
    }
}

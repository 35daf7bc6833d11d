//! The layers around a request for definitions. There is no circuit breaker, because callers do not wait for definitions,
//! and the poll interval bounds the requests.

use std::time::Duration;

use tower::timeout::TimeoutLayer;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, service_fn};

use super::endpoint::{Ask, DefinitionsEndpoint, Fetched};
use crate::Error;
use crate::layers::{Observe, ObserveLayer};
use crate::monitor::Watch;
use crate::outcome::Accepted;

pub type DefinitionsStack = BoxCloneSyncService<Ask, Fetched, Error>;

pub fn definitions_stack(watch: Watch, timeout: Duration, endpoint: DefinitionsEndpoint) -> DefinitionsStack {
    let stack = ServiceBuilder::new()
        .layer(ObserveLayer::new(watch))
        .map_err(Error::from)
        .layer(TimeoutLayer::new(timeout))
        .service(service_fn(move |ask| endpoint.clone().send(ask)));
    DefinitionsStack::new(stack)
}

impl Observe<Fetched, Error> for Watch {
    fn attempt(&self, latency: Duration, result: Result<&Fetched, &Error>) {
        self.attempt(latency, result.map(|_| &Accepted { over_quota: false }));
    }
}

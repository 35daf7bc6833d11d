//! A request for definitions, and the layers around it. There is no circuit breaker, because callers do not wait for
//! definitions, and the poll interval bounds the requests.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, service_fn};

use crate::Error;
use crate::api::{Accepted, Api};
use crate::credentials::SecretKey;
use crate::flags::local::LocalFlags;
use crate::layers::{Observe, ObserveLayer, TimeoutLayer};
use crate::monitor::AttemptObserver;

/// Asks for definitions other than those with this tag.
#[derive(Debug)]
pub struct Fetch {
    pub key: SecretKey,
    pub etag: Option<HeaderValue>,
}

/// PostHog's answer.
#[derive(Debug)]
pub enum Fetched {
    Unchanged,
    New(Arc<LocalFlags>, Option<HeaderValue>),
}

pub type DefinitionsStack = BoxCloneSyncService<Fetch, Fetched, Error>;

pub fn definitions_stack(observer: AttemptObserver, timeout: Duration, api: Arc<Api>) -> DefinitionsStack {
    let stack = ServiceBuilder::new()
        .layer(ObserveLayer::new(observer))
        .map_err(Error::from)
        .layer(TimeoutLayer::new(timeout))
        .service(service_fn(move |request| fetch(Arc::clone(&api), request)));
    DefinitionsStack::new(stack)
}

/// One attempt.
async fn fetch(api: Arc<Api>, Fetch { key, etag }: Fetch) -> Result<Fetched, Error> {
    Ok(match api.definitions(&key, etag).await? {
        Some(new) => Fetched::New(Arc::new(LocalFlags::read(&new.body)?), new.etag),
        None => Fetched::Unchanged,
    })
}

impl Observe<Fetched, Error> for AttemptObserver {
    fn attempt(&self, latency: Duration, result: Result<&Fetched, &Error>) {
        self.attempt(latency, result.map(|_| &Accepted { over_quota: false }));
    }
}

//! The definitions of all flags: fetched when somebody first asks for flags, and then again and again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use reqwest::header::{AUTHORIZATION, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use reqwest::{Method, Request, Url};
use tokio::time::{Instant, sleep};
use tower::timeout::TimeoutLayer;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, ServiceExt};

use super::local::Local;
use crate::credentials::{Credentials, ProjectToken, SecretKey};
use crate::layers::ObserveLayer;
use crate::monitor::Watch;
use crate::transport::{endpoint, send};
use crate::{Error, ErrorKind};

/// The latest definitions, and how they are fetched.
#[derive(Debug)]
pub(crate) struct Definitions {
    stack: BoxCloneSyncService<Ask, Fetched, Error>,
    keys: Arc<Credentials<SecretKey>>,
    poll_interval: Duration,
    latest: Mutex<Option<Latest>>,
}

#[derive(Clone, Debug)]
struct Latest {
    local: Arc<Local>,
    etag: Option<HeaderValue>,
    /// When PostHog last said that they are these.
    at: Instant,
}

/// Are there other definitions than those of this tag?
#[derive(Debug)]
pub(super) struct Ask {
    key: SecretKey,
    etag: Option<HeaderValue>,
}

/// What PostHog answered.
#[derive(Debug)]
pub(crate) enum Fetched {
    Unchanged,
    New(Arc<Local>, Option<HeaderValue>),
}

impl Definitions {
    pub(crate) fn new(
        endpoint: DefinitionsEndpoint,
        watch: Watch,
        keys: Arc<Credentials<SecretKey>>,
        poll_interval: Duration,
        timeout: Duration,
    ) -> Self {
        let stack = ServiceBuilder::new()
            // Outside the timeout, so that timeouts are seen.
            .layer(ObserveLayer::new(watch))
            .map_err(Error::from)
            .layer(TimeoutLayer::new(timeout))
            .service(endpoint);
        Self { stack: BoxCloneSyncService::new(stack), keys, poll_interval, latest: Mutex::default() }
    }

    /// What is known, and for how long PostHog has not confirmed it.
    pub(super) fn latest(&self, now: Instant) -> Option<(Arc<Local>, Duration)> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some((latest.local, now.saturating_duration_since(latest.at)))
    }

    /// Fetches until it is aborted: once in the poll interval, and at once with a new key.
    pub(super) async fn poll(self: Arc<Self>) {
        let mut keys = self.keys.keys();
        loop {
            let key = keys.borrow_and_update().clone();
            let pause = match key {
                Some(key) => self.fetch(key).await.max(self.poll_interval),
                // A provider has given none yet.
                None => self.poll_interval,
            };
            tokio::select! {
                () = sleep(pause) => {}
                Ok(()) = keys.changed() => {}
            }
        }
    }

    /// Gives the time for which PostHog wants to be left alone.
    async fn fetch(&self, key: SecretKey) -> Duration {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ask = Ask { key: key.clone(), etag: latest.as_ref().and_then(|latest| latest.etag.clone()) };
        let result = self.stack.clone().oneshot(ask).await;
        let at = Instant::now();
        if result.is_ok() {
            self.keys.found(&key, false);
        }
        let fresh = match result {
            Ok(Fetched::New(local, etag)) => Latest { local, etag, at },
            Ok(Fetched::Unchanged) => match latest {
                Some(latest) => Latest { at, ..latest },
                None => return Duration::ZERO,
            },
            Err(error) => {
                if matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Forbidden) {
                    self.keys.found(&key, true);
                    self.keys.renew();
                }
                return error.retry_after().unwrap_or_default();
            }
        };
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        Duration::ZERO
    }
}

/// `GET {host}/flags/definitions/`: one call, one attempt.
#[derive(Clone, Debug)]
pub(crate) struct DefinitionsEndpoint {
    client: reqwest::Client,
    url: Url,
    tokens: Arc<Credentials<ProjectToken>>,
    longest_retry_after: Duration,
}

/// A thousand flags with payloads are about one; a project has hundreds.
const LONGEST: usize = 32 * 1024 * 1024;

impl DefinitionsEndpoint {
    pub(crate) fn new(
        client: reqwest::Client,
        host: &Url,
        tokens: Arc<Credentials<ProjectToken>>,
        longest_retry_after: Duration,
    ) -> Self {
        // `send_cohorts`: with what cohorts are made of, so that membership can be evaluated here.
        let url = endpoint(host, "/flags/definitions/", Some("send_cohorts"));
        Self { client, url, tokens, longest_retry_after }
    }

    async fn send(self, Ask { key, etag }: Ask) -> Result<Fetched, Error> {
        let token = self.tokens.current().ok_or_else(|| Error::new(ErrorKind::Unauthorized))?;
        let mut request = Request::new(Method::GET, self.url);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, secret(&format!("Bearer {}", key.expose()))?);
        headers.insert("x-posthog-project-api-key", secret(token.expose())?);
        let has_tag = etag.is_some();
        headers.extend(etag.map(|etag| (IF_NONE_MATCH, etag)));
        let answer = send(&self.client, request, 0, LONGEST).await?;
        if has_tag && answer.status == 304 {
            return Ok(Fetched::Unchanged);
        }
        let etag = tag(&answer.headers);
        let body = answer.into_body(SystemTime::now(), self.longest_retry_after, key.expose())?;
        Ok(Fetched::New(Arc::new(Local::read(&body)?), etag))
    }
}

/// Shown by no `Debug`.
fn secret(text: &str) -> Result<HeaderValue, Error> {
    // A key is printable ASCII.
    let mut value = HeaderValue::from_str(text).map_err(|_| Error::new(ErrorKind::Unauthorized))?;
    value.set_sensitive(true);
    Ok(value)
}

fn tag(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ETAG).cloned()
}

impl Service<Ask> for DefinitionsEndpoint {
    type Response = Fetched;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Fetched, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        Box::pin(self.clone().send(ask))
    }
}

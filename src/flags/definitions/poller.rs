use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::HeaderValue;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;

use super::stack::{DefinitionsStack, Fetch, Fetched};
use crate::credentials::{Credentials, SecretKey};
use crate::flags::local::LocalFlags;
use crate::rt::lock;

/// Fetches definitions, and has the latest.
#[derive(Debug)]
pub struct Poller {
    stack: DefinitionsStack,
    keys: Arc<Credentials<SecretKey>>,
    poll_interval: Duration,
    latest: Mutex<Option<Latest>>,
}

#[derive(Clone, Debug)]
struct Latest {
    local: Arc<LocalFlags>,
    etag: Option<HeaderValue>,
    confirmed_at: Instant,
}

impl Poller {
    pub fn new(stack: DefinitionsStack, keys: Arc<Credentials<SecretKey>>, poll_interval: Duration) -> Self {
        Self { stack, keys, poll_interval, latest: Mutex::default() }
    }

    /// The latest definitions, and how long ago PostHog confirmed them.
    pub fn latest(&self, now: Instant) -> Option<(Arc<LocalFlags>, Duration)> {
        let latest = lock(&self.latest).clone()?;
        Some((latest.local, now.saturating_duration_since(latest.confirmed_at)))
    }

    /// Fetches until it is aborted: once per poll interval, and at once with a new key.
    pub async fn poll(self: Arc<Self>) {
        let mut keys = self.keys.keys();
        loop {
            let key = keys.borrow_and_update().clone();
            let pause = match key {
                Some(key) => self.fetch(key).await.max(self.poll_interval),
                // A provider has not given the first key yet.
                None => self.poll_interval,
            };
            tokio::select! {
                biased;
                () = sleep(pause) => {}
                Ok(()) = keys.changed() => {}
            }
        }
    }

    /// Fetches once. Returns PostHog's `Retry-After`, or zero.
    async fn fetch(&self, key: SecretKey) -> Duration {
        let latest = lock(&self.latest).clone();
        let request =
            Fetch { key: key.clone(), etag: latest.as_ref().and_then(|latest| latest.etag.clone()) };
        let result = self.stack.clone().oneshot(request).await;
        let confirmed_at = Instant::now();
        if result.is_ok() {
            self.keys.found(&key, false);
        }
        let fresh = match result {
            Ok(Fetched::New(local, etag)) => Latest { local, etag, confirmed_at },
            Ok(Fetched::Unchanged) => match latest {
                Some(latest) => Latest { confirmed_at, ..latest },
                None => return Duration::ZERO,
            },
            Err(error) => {
                if error.kind().is_about_the_token() {
                    self.keys.found(&key, true);
                    self.keys.renew();
                }
                return error.retry_after().unwrap_or_default();
            }
        };
        *lock(&self.latest) = Some(fresh);
        Duration::ZERO
    }
}

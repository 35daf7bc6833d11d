//! The definitions of all flags: fetched when somebody first asks for flags, and then again and again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderValue;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;

use super::local::Local;
use super::stack::DefinitionsStack;
use crate::Error;
use crate::api::Api;
use crate::credentials::{Credentials, SecretKey};

/// Are there other definitions than those of this tag?
#[derive(Debug)]
pub(super) struct Ask {
    key: SecretKey,
    etag: Option<HeaderValue>,
}

/// What PostHog answered.
#[derive(Debug)]
pub(super) enum Fetched {
    Unchanged,
    New(Arc<Local>, Option<HeaderValue>),
}

/// One attempt.
pub(super) async fn fetch(api: Arc<Api>, Ask { key, etag }: Ask) -> Result<Fetched, Error> {
    Ok(match api.definitions(&key, etag).await? {
        Some(new) => Fetched::New(Arc::new(Local::read(&new.body)?), new.etag),
        None => Fetched::Unchanged,
    })
}

/// The latest definitions, and how they are fetched.
#[derive(Debug)]
pub(super) struct Definitions {
    stack: DefinitionsStack,
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

impl Definitions {
    pub(super) fn new(
        stack: DefinitionsStack,
        keys: &Arc<Credentials<SecretKey>>,
        poll_interval: Duration,
    ) -> Self {
        Self { stack, keys: Arc::clone(keys), poll_interval, latest: Mutex::default() }
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
                if error.kind().is_about_the_token() {
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

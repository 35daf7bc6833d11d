use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::Url;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::credentials::ProjectToken;
use crate::monitor::{Failure, metrics};
use crate::transport::{endpoint, post};
use crate::{Error, ErrorKind};

/// Asks PostHog whether it is there and takes the token, without being billed: `POST /flags/` with
/// `disable_flags`, which checks the token and leaves before anything is evaluated or counted.
///
/// However many ask, there is one request per `cache` period: the first asks PostHog, in a task of its own
/// so that a caller who gives up does not waste the answer; the others wait for that answer or get the
/// latest one.
#[derive(Debug)]
pub(crate) struct Probe {
    request: ProbeRequest,
    cache: Duration,
    state: Mutex<State>,
    /// Tells delivery whether the token is refused, with each finding about it.
    token_refused: watch::Sender<bool>,
}

#[derive(Clone, Debug)]
struct ProbeRequest {
    client: reqwest::Client,
    url: Url,
    token: ProjectToken,
    timeout: Duration,
}

#[derive(Debug, Default)]
struct State {
    latest: Option<Finding>,
    under_way: Option<(watch::Receiver<Option<Finding>>, JoinHandle<()>)>,
    ended: bool,
}

/// What a probe found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finding {
    pub(crate) at: Instant,
    pub(crate) latency: Duration,
    pub(crate) failure: Option<Failure>,
}

impl Probe {
    pub(crate) fn new(
        client: reqwest::Client,
        host: &Url,
        token: ProjectToken,
        timeout: Duration,
        cache: Duration,
        token_refused: watch::Sender<bool>,
    ) -> Self {
        let url = endpoint(host, "/flags/", Some("v=2&config=false"));
        Self {
            request: ProbeRequest { client, url, token, timeout },
            cache,
            state: Mutex::default(),
            token_refused,
        }
    }

    /// A finding no older than the cache period. `None` when the client was shut down.
    pub(crate) async fn check(self: &Arc<Self>) -> Option<Finding> {
        let mut answer = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(latest) = state.latest.filter(|latest| latest.at.elapsed() < self.cache) {
                return Some(latest);
            }
            if state.ended {
                return None;
            }
            match &state.under_way {
                // An answer that will never come is none: its task has ended with another runtime.
                Some((answer, _)) if answer.has_changed().is_ok() => answer.clone(),
                _ => {
                    let (sender, answer) = watch::channel(None);
                    let task = tokio::spawn(Arc::clone(self).ask(sender));
                    state.under_way = Some((answer.clone(), task));
                    answer
                }
            }
        };
        let found = answer.wait_for(Option::is_some).await.ok()?;
        *found
    }

    /// What was found last.
    pub(crate) fn latest(&self) -> Option<Finding> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).latest
    }

    async fn ask(self: Arc<Self>, sender: watch::Sender<Option<Finding>>) {
        let started = Instant::now();
        let result = match timeout(self.request.timeout, self.request.send_confirmed()).await {
            Ok(result) => result,
            Err(elapsed) => Err(Error::new(ErrorKind::Timeout).with_source(elapsed)),
        };
        let failure = result.as_ref().err().map(Failure::from);
        let finding = Finding { at: Instant::now(), latency: started.elapsed(), failure };
        metrics::probe(failure.map(|failure| failure.kind), finding.latency);
        tracing::debug!(latency = ?finding.latency, error = result.err().map(tracing::field::display), "probe");
        match failure.map(|failure| failure.kind) {
            None => drop(self.token_refused.send_replace(false)),
            Some(ErrorKind::Unauthorized) => drop(self.token_refused.send_replace(true)),
            Some(_) => {}
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.latest = Some(finding);
        state.under_way = None;
        drop(state);
        sender.send_replace(Some(finding));
    }

    /// Ends the probe that is under way, if one is, and lets none begin.
    pub(crate) fn end(&self) -> Option<JoinHandle<()>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended = true;
        let (_, task) = state.under_way.take()?;
        task.abort();
        Some(task)
    }
}

impl ProbeRequest {
    /// A 401 is asked about twice: a token that was just created may be unknown for a moment.
    async fn send_confirmed(&self) -> Result<(), Error> {
        match self.send().await {
            Err(error) if error.kind() == ErrorKind::Unauthorized => self.send().await,
            result => result,
        }
    }

    async fn send(&self) -> Result<(), Error> {
        let body = serde_json::json!({ "api_key": self.token.expose(), "disable_flags": true }).to_string();
        let answer = post(&self.client, self.url.clone(), body.into(), false).await?;
        // The hint is for whoever sends again; a probe does not before its cache period is over.
        let result = answer.read(SystemTime::now(), Duration::ZERO, self.token.expose());
        result.map(|_| ()).map_err(|error| match (error.kind(), error.status()) {
            // This request is never malformed and never large: who says so is not PostHog.
            (ErrorKind::BadRequest | ErrorKind::TooLarge, Some(status)) => {
                Error::new(ErrorKind::WrongHost).with_status(status)
            }
            _ => error,
        })
    }
}

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::request::ProbeRequest;
use crate::ErrorKind;
use crate::credentials::{Credentials, ProjectToken};
use crate::monitor::{Failure, metrics};
use crate::rt::single_flight::SingleFlight;
use crate::rt::target;

/// Asks PostHog whether it is there and takes the token, without being billed.
///
/// However many ask, there is one request per `cache` period: the first caller starts it, and the others share its
/// finding while it is in flight and for that period.
#[derive(Debug)]
pub(crate) struct Probe {
    requests: SingleFlight<ProjectToken, Finding>,
    cache: Duration,
    latest: Arc<Mutex<Latest>>,
    credentials: Arc<Credentials<ProjectToken>>,
}

/// The latest finding, with the token that it is about. It says nothing about another token.
#[derive(Debug, Default)]
struct Latest(Option<(ProjectToken, Finding)>);

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
        credentials: Arc<Credentials<ProjectToken>>,
        timeout: Duration,
        cache: Duration,
    ) -> Self {
        let latest = Arc::<Mutex<Latest>>::default();
        let prober = Arc::new(Prober {
            request: ProbeRequest::new(client, host, timeout),
            latest: Arc::clone(&latest),
            credentials: Arc::clone(&credentials),
        });
        let requests = SingleFlight::new(move |token| Arc::clone(&prober).probe(token));
        Self { requests, cache, latest, credentials }
    }

    /// Returns a finding about the token in use, no older than the cache period. `None` when the client was shut down.
    pub(crate) async fn check(&self) -> Option<Finding> {
        let mut tokens = self.credentials.keys();
        loop {
            let Some(token) = tokens.borrow_and_update().clone() else { return Some(Finding::no_token()) };
            let finding = {
                // Locked until the request is joined: one that lands in between would be neither the latest nor in flight.
                let latest = lock(&self.latest);
                match latest.about(&token).filter(|latest| latest.at.elapsed() < self.cache) {
                    Some(fresh) => return Some(fresh),
                    None => self.requests.join(token),
                }
            };
            tokio::select! {
                biased;
                // A finding about the token before would be no answer any more.
                Ok(()) = tokens.changed() => {}
                finding = finding => return finding,
            }
        }
    }

    /// The latest finding about the token in use.
    pub(crate) fn latest(&self) -> Option<Finding> {
        let token = self.credentials.current()?;
        lock(&self.latest).about(&token)
    }

    /// Aborts the probe in flight, if there is one, and lets none start from now on. Returns the aborted task.
    pub(crate) fn end(&self) -> JoinSet<()> {
        self.requests.end()
    }
}

/// Makes the requests, and records what they find.
#[derive(Debug)]
struct Prober {
    request: ProbeRequest,
    latest: Arc<Mutex<Latest>>,
    /// Learns from each finding whether the token is refused.
    credentials: Arc<Credentials<ProjectToken>>,
}

impl Prober {
    async fn probe(self: Arc<Self>, token: ProjectToken) -> Finding {
        let started = Instant::now();
        let result = self.request.send(&token).await;
        let failure = result.as_ref().err().map(Failure::from);
        let finding = Finding { at: Instant::now(), latency: started.elapsed(), failure };
        metrics::probe(failure.map(|failure| failure.kind), finding.latency);
        tracing::debug!(
            target: target::REQUESTS,
            latency = ?finding.latency,
            error = result.err().map(tracing::field::display),
            "probe"
        );
        match failure.map(|failure| failure.kind) {
            None => self.credentials.found(&token, false),
            Some(ErrorKind::Unauthorized) => self.credentials.found(&token, true),
            Some(_) => {}
        }
        // A probe of the token before may land after one of its successor.
        let mut latest = lock(&self.latest);
        if self.credentials.current().as_ref() == Some(&token) {
            latest.0 = Some((token, finding));
        }
        finding
    }
}

impl Latest {
    fn about(&self, token: &ProjectToken) -> Option<Finding> {
        self.0.as_ref().filter(|(asked, _)| asked == token).map(|(_, finding)| *finding)
    }
}

fn lock(latest: &Mutex<Latest>) -> MutexGuard<'_, Latest> {
    latest.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Finding {
    /// There is no token yet to ask about: as good as a refused one.
    pub(crate) fn no_token() -> Self {
        let failure = Failure { kind: ErrorKind::Unauthorized, status: None };
        Self { at: Instant::now(), latency: Duration::ZERO, failure: Some(failure) }
    }
}

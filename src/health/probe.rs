use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::api::Api;
use crate::credentials::{Credentials, ProjectToken};
use crate::monitor::Failure;
use crate::rt::single_flight::SingleFlight;
use crate::rt::{lock, metrics, target};
use crate::{Error, ErrorKind};

/// Checks that PostHog answers and accepts the token, by a request that is not billed.
///
/// There is one request per `cache` period, however many callers ask. The first caller starts it, in a task of its own, so
/// that a caller who gives up does not waste the answer. The others wait for that answer or get the latest one.
#[derive(Debug)]
pub struct Probe {
    requests: SingleFlight<ProjectToken, Finding>,
    cache: Duration,
    latest: Arc<Mutex<Latest>>,
    tokens: Arc<Credentials<ProjectToken>>,
}

/// The latest finding, with the token that it is about. It says nothing about another token.
#[derive(Debug, Default)]
struct Latest(Option<(ProjectToken, Finding)>);

/// The result of a probe.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    pub at: Instant,
    pub latency: Duration,
    pub failure: Option<Failure>,
}

impl Probe {
    pub fn new(api: Arc<Api>, timeout: Duration, cache: Duration) -> Self {
        let tokens = Arc::clone(&api.tokens);
        let latest = Arc::<Mutex<Latest>>::default();
        let prober = Arc::new(Prober { api, timeout, latest: Arc::clone(&latest) });
        let requests = SingleFlight::new(move |token| Arc::clone(&prober).probe(token));
        Self { requests, cache, latest, tokens }
    }

    /// Returns a finding about the token in use that is no older than the cache period, or `None` after a shutdown.
    pub async fn check(&self) -> Option<Finding> {
        let mut tokens = self.tokens.keys();
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

    /// Returns the latest finding about the token in use.
    pub fn latest(&self) -> Option<Finding> {
        let token = self.tokens.current()?;
        lock(&self.latest).about(&token)
    }

    /// Aborts the probe in flight, if there is one, and lets none start from now on. Returns the aborted task.
    pub fn end(&self) -> JoinSet<()> {
        *lock(&self.latest) = Latest::default();
        self.requests.end()
    }
}

/// Makes the requests, and records what they find.
#[derive(Debug)]
struct Prober {
    /// Its tokens receive each finding.
    api: Arc<Api>,
    timeout: Duration,
    latest: Arc<Mutex<Latest>>,
}

impl Prober {
    async fn probe(self: Arc<Self>, token: ProjectToken) -> Finding {
        let started = Instant::now();
        let result = self.request(&token).await;
        let failure = result.as_ref().err().map(Failure::from);
        let finding = Finding { at: Instant::now(), latency: started.elapsed(), failure };
        metrics::probe(failure.map_or("ok", |failure| failure.kind.as_str()), finding.latency);
        tracing::debug!(
            target: target::REQUESTS,
            latency = ?finding.latency,
            error = result.err().map(tracing::field::display),
            "probe"
        );
        match failure.map(|failure| failure.kind) {
            None => self.api.tokens.found(&token, false),
            Some(ErrorKind::Unauthorized) => self.api.tokens.found(&token, true),
            Some(_) => {}
        }
        // A probe of the token before may land after one of its successor.
        let mut latest = lock(&self.latest);
        if self.api.tokens.current().as_ref() == Some(&token) {
            latest.0 = Some((token, finding));
        }
        finding
    }

    /// Asks within the timeout.
    async fn request(&self, token: &ProjectToken) -> Result<(), Error> {
        match timeout(self.timeout, self.confirmed(token)).await {
            Ok(result) => result,
            Err(elapsed) => Err(Error::new(ErrorKind::Timeout).with_source(elapsed)),
        }
    }

    /// A 401 is asked about twice, because a token that was just created may be unknown for a moment.
    async fn confirmed(&self, token: &ProjectToken) -> Result<(), Error> {
        match self.api.probe(token).await {
            Err(error) if error.kind() == ErrorKind::Unauthorized => self.api.probe(token).await,
            result => result,
        }
    }
}

impl Latest {
    fn about(&self, token: &ProjectToken) -> Option<Finding> {
        self.0.as_ref().filter(|(asked, _)| asked == token).map(|(_, finding)| *finding)
    }
}

impl Finding {
    /// Returns the finding while there is no token yet: the same as for a refused one.
    pub fn no_token() -> Self {
        let failure = Failure { kind: ErrorKind::Unauthorized, status: None };
        Self { at: Instant::now(), latency: Duration::ZERO, failure: Some(failure) }
    }
}

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::api::Api;
use crate::credentials::ProjectToken;
use crate::monitor::Failure;
use crate::rt::{metrics, target};
use crate::{Error, ErrorKind};

/// Checks that PostHog answers and accepts the token, by a request that is not billed.
///
/// There is one request per `cache` period, however many callers ask. The first caller starts it, in a task of its own, so
/// that a caller who gives up does not waste the answer. The others wait for that answer or get the latest one.
#[derive(Debug)]
pub struct Probe {
    /// Its tokens receive each finding.
    api: Arc<Api>,
    timeout: Duration,
    cache: Duration,
    state: Mutex<State>,
}

/// An answer that is there or will be.
enum Pending {
    Found(Finding),
    Asked(ProjectToken, watch::Receiver<Option<Finding>>),
}

#[derive(Debug, Default)]
struct State {
    /// With the token that was asked about. What was found of another is no answer any more.
    latest: Option<(ProjectToken, Finding)>,
    under_way: Option<(ProjectToken, watch::Receiver<Option<Finding>>, JoinHandle<()>)>,
    ended: bool,
}

/// The result of a probe.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    pub at: Instant,
    pub latency: Duration,
    pub failure: Option<Failure>,
}

impl Probe {
    pub fn new(api: Arc<Api>, timeout: Duration, cache: Duration) -> Self {
        Self { api, timeout, cache, state: Mutex::default() }
    }

    /// Returns a finding about the token in use that is no older than the cache period, or `None` after a shutdown.
    pub async fn check(self: &Arc<Self>) -> Option<Finding> {
        loop {
            let (asked, mut answer) = match self.answer()? {
                Pending::Found(finding) => return Some(finding),
                Pending::Asked(token, answer) => (token, answer),
            };
            match answer.wait_for(Option::is_some).await {
                Ok(found) => return *found,
                // Its place was taken by a probe of another token.
                Err(_) if self.api.tokens.current() != Some(asked) => {}
                Err(_) => return None,
            }
        }
    }

    /// The latest finding if it is fresh, else the probe under way, which begins now if there is none.
    fn answer(self: &Arc<Self>) -> Option<Pending> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = match self.api.tokens.current() {
            Some(token) => state.of(&token).filter(|latest| latest.at.elapsed() < self.cache).ok_or(token),
            None => Ok(Finding::no_token()),
        };
        let token = match latest {
            Ok(finding) => return Some(Pending::Found(finding)),
            Err(_) if state.ended => return None,
            Err(token) => token,
        };
        match &state.under_way {
            // An answer that will never come is none: its task has ended with another runtime.
            Some((asked, answer, _)) if *asked == token && answer.has_changed().is_ok() => {
                Some(Pending::Asked(token, answer.clone()))
            }
            _ => {
                let (sender, answer) = watch::channel(None);
                let task = tokio::spawn(Arc::clone(self).ask(token.clone(), sender));
                let outdated = state.under_way.replace((token.clone(), answer.clone(), task));
                outdated.inspect(|(_, _, task)| task.abort());
                Some(Pending::Asked(token, answer))
            }
        }
    }

    /// Returns the latest finding about the token in use.
    pub fn latest(&self) -> Option<Finding> {
        let token = self.api.tokens.current()?;
        self.state.lock().unwrap_or_else(PoisonError::into_inner).of(&token)
    }

    async fn ask(self: Arc<Self>, token: ProjectToken, sender: watch::Sender<Option<Finding>>) {
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
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match failure.map(|failure| failure.kind) {
            None => self.api.tokens.found(&token, false),
            Some(ErrorKind::Unauthorized) => self.api.tokens.found(&token, true),
            Some(_) => {}
        }
        if state.under_way.take_if(|(asked, ..)| *asked == token).is_some() {
            state.latest = Some((token, finding));
        }
        drop(state);
        sender.send_replace(Some(finding));
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

    /// Aborts the probe in flight, and lets no further probe begin.
    pub fn end(&self) -> Option<JoinHandle<()>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended = true;
        let (_, _, task) = state.under_way.take()?;
        task.abort();
        Some(task)
    }
}

impl State {
    fn of(&self, token: &ProjectToken) -> Option<Finding> {
        self.latest.as_ref().filter(|(asked, _)| asked == token).map(|(_, finding)| *finding)
    }
}

impl Finding {
    /// Returns the finding while there is no token yet: the same as for a refused one.
    pub fn no_token() -> Self {
        let failure = Failure { kind: ErrorKind::Unauthorized, status: None };
        Self { at: Instant::now(), latency: Duration::ZERO, failure: Some(failure) }
    }
}

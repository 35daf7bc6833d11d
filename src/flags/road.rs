use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use posthog_rs::RequestContext;
use reqwest::Url;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tower::timeout::TimeoutLayer;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, ServiceExt};
use tracing::Instrument;

use super::answer::FlagsAnswer;
use super::config::FlagsConfig;
use super::definitions::Definitions;
use super::kept::Kept;
use super::known::LastKnownGood;
use super::local::LocalAnswer;
use super::options::FlagOptions;
use super::reported::Reported;
use super::snapshot::{Flag, FlagSource, Flags, Reporter, Snapshot, Trouble};
use crate::credentials::{Credentials, ProjectToken};
use crate::delivery::Queue;
use crate::layers::circuit_breaker::State;
use crate::layers::{CircuitBreaker, CircuitBreakerLayer, Classify, ObserveLayer, Verdict};
use crate::monitor::{Failure, Watch};
use crate::outcome::DeliveryClassifier;
use crate::transport::{endpoint, post};
use crate::{Error, ErrorKind};

/// The way to `/flags/` and what stands in for it.
#[derive(Debug)]
pub(crate) struct FlagsRoad {
    breaker: CircuitBreaker,
    geoip: bool,
    known: Arc<LastKnownGood>,
    timeout: Duration,
    reported: Arc<Reported>,
    under_way: Mutex<UnderWay>,
}

/// What is asked for, without the token.
type Question = Arc<str>;

type Stack = BoxCloneSyncService<Question, FlagsAnswer, Error>;

type Outcome = Result<Arc<FlagsAnswer>, Failure>;

#[derive(Debug)]
struct UnderWay {
    /// Taken at the end, as these hold connections.
    stack: Option<Stack>,
    definitions: Option<Arc<Definitions>>,
    answers: HashMap<Question, watch::Receiver<Option<Outcome>>>,
    /// That definitions are fetched.
    polling: Option<AbortHandle>,
    tasks: JoinSet<()>,
}

impl UnderWay {
    /// Has them fetched from now on.
    fn definitions(&mut self) -> Option<Arc<Definitions>> {
        let definitions = Arc::clone(self.definitions.as_ref()?);
        // Polling that has ended did so with another runtime.
        if self.polling.as_ref().is_none_or(AbortHandle::is_finished) {
            self.polling = Some(self.tasks.spawn(Arc::clone(&definitions).poll()));
        }
        Some(definitions)
    }
}

/// What it is made of.
pub(crate) struct FlagsParts {
    pub(crate) breaker: CircuitBreakerLayer<DeliveryClassifier>,
    pub(crate) watch: Watch,
    pub(crate) endpoint: Endpoint,
    pub(crate) definitions: Option<Definitions>,
    pub(crate) kept: Option<Kept>,
    /// Unless the options say otherwise.
    pub(crate) geoip: bool,
}

impl FlagsRoad {
    pub(crate) fn new(config: &FlagsConfig, parts: FlagsParts) -> Self {
        let FlagsParts { breaker, watch, endpoint, definitions, kept, geoip } = parts;
        let handle = breaker.handle();
        let stack = ServiceBuilder::new()
            .layer(breaker)
            // Outside the timeout, so that timeouts are seen.
            .layer(ObserveLayer::new(watch))
            .map_err(Error::from)
            .layer(TimeoutLayer::new(config.timeout))
            .service(endpoint);
        Self {
            breaker: handle,
            geoip,
            known: Arc::new(LastKnownGood::new(config.persons, config.age, kept.map(Arc::new))),
            timeout: config.timeout,
            reported: Arc::default(),
            under_way: Mutex::new(UnderWay {
                stack: Some(Stack::new(stack)),
                definitions: definitions.map(Arc::new),
                answers: HashMap::new(),
                polling: None,
                tasks: JoinSet::new(),
            }),
        }
    }

    /// Reads what is kept on disk, and keeps it there up to date until the end.
    pub(crate) fn keep(&self) {
        if let Some(kept) = self.known.kept() {
            let keeping = Arc::clone(kept).run(Arc::clone(&self.known));
            self.under_way().tasks.spawn(keeping.in_current_span());
        }
    }

    /// Keeps on disk what was learned last.
    pub(crate) async fn keep_last(&self) {
        if let Some(kept) = self.known.kept() {
            Arc::clone(kept).write(Arc::clone(&self.known)).await;
        }
    }

    /// The flags of a person: what can be evaluated here, the answer of PostHog for the rest, and for what is missing
    /// in it what is known.
    pub(crate) async fn flags(
        self: &Arc<Self>,
        distinct_id: String,
        options: FlagOptions,
        queue: &Arc<Queue>,
    ) -> Flags {
        let groups = options.groups.clone();
        let (local, age) = self.evaluate(&distinct_id, &options);
        let LocalAnswer { flags: local, is_whole } = local;
        let local = local.into_iter().map(|(key, flag)| (key, Flag::new(flag, FlagSource::Local { age })));
        let (mut flags, request_id, trouble) = if is_whole {
            <_>::default()
        } else {
            let question: Question = options.question(&distinct_id, self.geoip).into();
            let deadline = Instant::now() + self.timeout;
            let outcome = self.ask(&question).await;
            if !outcome.as_ref().is_ok_and(|answer| answer.is_whole()) {
                self.read_kept(deadline).await;
            }
            put_together(outcome, self.known.recall(&question, Instant::now()))
        };
        flags.extend(local);
        let reporter = Reporter { queue: Arc::clone(queue), reported: Arc::clone(&self.reported) };
        Flags::new(Snapshot {
            distinct_id,
            groups,
            context: RequestContext::current().unwrap_or_default(),
            flags,
            request_id,
            trouble,
            reporter: Some(reporter),
        })
    }

    /// What the definitions say, and how old they are.
    fn evaluate(&self, distinct_id: &str, options: &FlagOptions) -> (LocalAnswer, Duration) {
        let definitions = self.under_way().definitions();
        match definitions.and_then(|definitions| definitions.latest(Instant::now())) {
            Some((local, age)) if age <= self.known.age() => (local.evaluate(distinct_id, options), age),
            _ => <_>::default(),
        }
    }

    /// Waits for an answer while the breaker is closed. Else nobody waits: the request that finds out whether PostHog
    /// is back goes in the background.
    async fn ask(self: &Arc<Self>, question: &Question) -> Outcome {
        const NOT_ASKED: Failure = Failure { kind: ErrorKind::CircuitOpen, status: None };
        let waits = self.breaker.state() == State::Closed;
        if !waits && self.breaker.retry_in().is_none_or(|time| !time.is_zero()) {
            return Err(NOT_ASKED);
        }
        let Some(mut answer) = self.share(question) else { return Err(NOT_ASKED) };
        if !waits {
            return Err(NOT_ASKED);
        }
        let answered = answer.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
        answered.unwrap_or(Err(NOT_ASKED))
    }

    /// The answer to a question that is under way, or is now: in a task of its own, so that a caller who gives up does
    /// not waste it. `None` after the end.
    fn share(self: &Arc<Self>, question: &Question) -> Option<watch::Receiver<Option<Outcome>>> {
        let mut under_way = self.under_way();
        let stack = under_way.stack.clone()?;
        // An answer that will never come is none: its task has ended with another runtime.
        if let Some(answer) = under_way.answers.get(question).filter(|answer| answer.has_changed().is_ok()) {
            return Some(answer.clone());
        }
        while under_way.tasks.try_join_next().is_some() {}
        let (sender, answer) = watch::channel(None);
        under_way.answers.insert(Arc::clone(question), answer.clone());
        under_way.tasks.spawn(Arc::clone(self).answer(stack, Arc::clone(question), sender));
        Some(answer)
    }

    async fn answer(
        self: Arc<Self>,
        stack: Stack,
        question: Question,
        sender: watch::Sender<Option<Outcome>>,
    ) {
        let deadline = Instant::now() + self.timeout;
        let result = stack.oneshot(Arc::clone(&question)).await;
        if let Ok(answer) = &result {
            if !answer.is_whole() {
                // A part adds to what is known, which must be there by then.
                self.read_kept(deadline).await;
            }
            self.known.learn(&question, answer, Instant::now());
        }
        self.under_way().answers.remove(&question);
        sender.send_replace(Some(result.map(Arc::new).map_err(|error| Failure::from(&error))));
    }

    /// What stands in may be on disk: waits until that was read, up to the deadline.
    async fn read_kept(&self, deadline: Instant) {
        if let Some(kept) = self.known.kept() {
            kept.read(deadline).await;
        }
    }

    /// Ends what is under way, and lets nothing begin. Gives the tasks.
    pub(crate) fn end(&self) -> JoinSet<()> {
        let mut under_way = self.under_way();
        under_way.stack = None;
        under_way.definitions = None;
        under_way.answers.clear();
        let mut tasks = std::mem::take(&mut under_way.tasks);
        tasks.abort_all();
        tasks
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What PostHog answered, and what is known of the rest.
fn put_together(
    outcome: Outcome,
    known: BTreeMap<String, (super::snapshot::Evaluated, Duration)>,
) -> (BTreeMap<String, Flag>, Option<String>, Trouble) {
    let known =
        known.into_iter().map(|(key, (flag, age))| (key, Flag::new(flag, FlagSource::LastKnownGood { age })));
    let answer = match outcome {
        Ok(answer) => answer,
        Err(failure) => {
            return (known.collect(), None, Trouble { failure: Some(failure), ..Trouble::default() });
        }
    };
    let FlagsAnswer { is_partial, over_quota, ref request_id, ref flags } = *answer;
    let is_whole = answer.is_whole();
    let remote = flags.iter().map(|(key, flag)| (key.clone(), Flag::new(flag.clone(), FlagSource::Remote)));
    // The later wins.
    let flags = known.filter(|_| !is_whole).chain(remote).collect();
    (flags, request_id.clone(), Trouble { failure: None, is_partial, over_quota })
}

impl Classify<FlagsAnswer, Error> for DeliveryClassifier {
    fn classify(&self, result: Result<&FlagsAnswer, &Error>) -> Verdict {
        let accepted = result.map(FlagsAnswer::accepted);
        self.classify(accepted.as_ref().map_err(|error| *error))
    }
}

/// `POST {host}/flags/?v=2`: one call, one attempt.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    client: reqwest::Client,
    url: Url,
    credentials: Arc<Credentials<ProjectToken>>,
    longest_retry_after: Duration,
}

impl Endpoint {
    pub(crate) fn new(
        client: reqwest::Client,
        host: &Url,
        credentials: Arc<Credentials<ProjectToken>>,
        longest_retry_after: Duration,
    ) -> Self {
        Self { client, url: endpoint(host, "/flags/", Some("v=2")), credentials, longest_retry_after }
    }

    async fn send(self, question: Question) -> Result<FlagsAnswer, Error> {
        // A provider has given none yet.
        let token = self.credentials.current().ok_or_else(|| Error::new(ErrorKind::Unauthorized))?;
        let result = self.send_as(&token, &question).await;
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unauthorized) {
            self.credentials.renew();
        }
        result
    }

    async fn send_as(&self, token: &ProjectToken, question: &str) -> Result<FlagsAnswer, Error> {
        let answer =
            post(&self.client, self.url.clone(), body(token, question).into(), false, LONGEST).await?;
        let body = answer.into_body(SystemTime::now(), self.longest_retry_after, token.expose())?;
        FlagsAnswer::read(&body)
    }
}

/// A thousand flags with payloads are about one.
const LONGEST: usize = 16 * 1024 * 1024;

/// The question with the token as its first field.
fn body(token: &ProjectToken, question: &str) -> String {
    let token = Value::from(token.expose());
    format!("{{\"api_key\":{token},{}", question.trim_start_matches('{'))
}

impl Service<Question> for Endpoint {
    type Response = FlagsAnswer;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<FlagsAnswer, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, question: Question) -> Self::Future {
        Box::pin(self.clone().send(question))
    }
}

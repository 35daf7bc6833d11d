use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use posthog_rs::RequestContext;
use tokio::time::Instant;
use tower::ServiceExt;

use super::answer::FlagsAnswer;
use super::config::FlagsConfig;
use super::definitions::{Definitions, definitions_stack};
use super::evaluated::Evaluated;
use super::exposure::{Degradation, ExposureContext, Exposures};
use super::flag::{Flag, FlagSource};
use super::last_known_good::LastKnownGood;
use super::local::LocalAnswer;
use super::options::{FlagOptions, Question};
use super::snapshot::Flags;
use super::stack::{FlagsStack, flags_stack};
use crate::ErrorKind;
use crate::api::{Api, PostHogClassifier};
use crate::credentials::{Credentials, SecretKey};
use crate::delivery::{Producer, SpoolConfig};
use crate::layers::{CircuitBreakerHandle, CircuitBreakerLayer, CircuitState};
use crate::monitor::{AttemptObserver, Failure};
use crate::rt::single_flight::SingleFlight;

/// Asks PostHog for flags, and falls back to what is known.
#[derive(Debug)]
pub struct FlagsClient {
    breaker: CircuitBreakerHandle,
    timeout: Duration,
    /// The default of [`FlagOptions::geoip`].
    geoip: bool,
    /// `None` without local evaluation.
    definitions: Option<Definitions>,
    requests: SingleFlight<Question, Outcome>,
    pub last_known_good: Arc<LastKnownGood>,
    exposures: Arc<Exposures>,
}

/// What a [`FlagsClient`] is made of.
pub struct FlagsParts<'a> {
    pub api: &'a Arc<Api>,
    /// For local evaluation: the keys that fetch definitions, and the poll interval.
    pub secret_keys: Option<(&'a Arc<Credentials<SecretKey>>, Duration)>,
    pub breaker: CircuitBreakerLayer<PostHogClassifier>,
    pub observer: AttemptObserver,
    /// Takes exposure events.
    pub producer: &'a Arc<Producer>,
    /// The last known good is persisted beside it.
    pub spool: Option<&'a SpoolConfig>,
    /// The timeout of a request for definitions.
    pub request_timeout: Duration,
    pub geoip: bool,
}

/// What became of a request.
type Outcome = Result<Arc<FlagsAnswer>, Failure>;

impl FlagsClient {
    pub fn new(config: &FlagsConfig, parts: FlagsParts<'_>) -> Self {
        let FlagsParts { api, breaker, observer, .. } = parts;
        let definitions = parts.secret_keys.map(|(keys, poll_interval)| {
            let stack = definitions_stack(observer.clone(), parts.request_timeout, Arc::clone(api));
            Definitions::new(stack, keys, poll_interval)
        });
        let timeout = config.timeout;
        let last_known_good = Arc::new(LastKnownGood::new(config, &api.host, parts.spool));
        let request = Request {
            timeout,
            last_known_good: Arc::clone(&last_known_good),
            stack: flags_stack(breaker.clone(), observer, timeout, Arc::clone(api)),
        };
        Self {
            breaker: breaker.handle(),
            timeout,
            geoip: parts.geoip,
            definitions,
            requests: SingleFlight::new(move |question| request.clone().send(question)),
            last_known_good,
            exposures: Arc::new(Exposures::new(Arc::clone(parts.producer))),
        }
    }

    /// The flags of a person: what can be evaluated locally, PostHog's answer for the rest, and for the flags that are
    /// missing in the answer what is known of them.
    pub async fn flags(&self, distinct_id: String, options: FlagOptions) -> Flags {
        let (LocalAnswer { flags: local, is_whole }, age) = self.evaluate_locally(&distinct_id, &options);
        let (mut flags, request_id, degradation) = if is_whole {
            <_>::default()
        } else {
            self.evaluate_remotely(&options.question(&distinct_id, self.geoip).into()).await
        };
        let local = local.into_iter().map(|(key, flag)| (key, Flag::new(flag, FlagSource::Local { age })));
        flags.extend(local);
        let context = ExposureContext {
            distinct_id,
            groups: options.groups,
            request: RequestContext::current().unwrap_or_default(),
            request_id,
            degradation,
        };
        Flags::new(flags, context, Arc::clone(&self.exposures))
    }

    /// What the definitions say, and their age. Nothing without local evaluation, before they have arrived, and when they
    /// are too old.
    fn evaluate_locally(&self, distinct_id: &str, options: &FlagOptions) -> (LocalAnswer, Duration) {
        let poller = self.definitions.as_ref().and_then(Definitions::start_polling);
        match poller.and_then(|poller| poller.latest(Instant::now())) {
            Some((local, age)) if age <= self.last_known_good.max_age => {
                (local.evaluate(distinct_id, options), age)
            }
            _ => <_>::default(),
        }
    }

    async fn evaluate_remotely(&self, question: &Question) -> RemoteFlags {
        let deadline = Instant::now() + self.timeout;
        let outcome = self.request(question).await;
        if !outcome.as_ref().is_ok_and(|answer| answer.is_whole()) {
            // The values that stand in may still be on disk.
            self.last_known_good.loaded(deadline).await;
        }
        combine(outcome, self.last_known_good.recall(question, Instant::now()))
    }

    /// Waits for an answer while the breaker is closed. Otherwise callers do not wait: when the breaker is due to probe,
    /// the first caller starts the request that probes, and all go on without its answer.
    async fn request(&self, question: &Question) -> Outcome {
        const NOT_ASKED: Failure = Failure { kind: ErrorKind::CircuitOpen, status: None };
        let is_closed = self.breaker.state() == CircuitState::Closed;
        if !is_closed && self.breaker.retry_in().is_none_or(|time| !time.is_zero()) {
            return Err(NOT_ASKED);
        }
        let answer = self.requests.join(Arc::clone(question));
        if !is_closed {
            return Err(NOT_ASKED);
        }
        // There is none after the end.
        answer.await.unwrap_or(Err(NOT_ASKED))
    }

    /// Ends what is in flight and in the background, and lets nothing start from now on. The future waits for the aborted
    /// tasks, and need not be polled.
    pub fn end(&self) -> impl Future<Output = ()> + use<> {
        let mut requests = self.requests.end();
        let polling = self.definitions.as_ref().and_then(Definitions::end);
        let persisting = self.last_known_good.end();
        async move {
            while requests.join_next().await.is_some() {}
            for task in [polling, persisting].into_iter().flatten() {
                let _ = task.await;
            }
        }
    }
}

/// A request in flight: it goes on when its callers have given up, and the next ones profit from what it learned.
#[derive(Clone)]
struct Request {
    stack: FlagsStack,
    last_known_good: Arc<LastKnownGood>,
    timeout: Duration,
}

impl Request {
    async fn send(self, question: Question) -> Outcome {
        let deadline = Instant::now() + self.timeout;
        let answer =
            self.stack.oneshot(Arc::clone(&question)).await.map_err(|error| Failure::from(&error))?;
        if !answer.is_whole() {
            // A partial answer adds to what is known, which therefore has to be there.
            self.last_known_good.loaded(deadline).await;
        }
        self.last_known_good.learn(&question, &answer, Instant::now());
        Ok(Arc::new(answer))
    }
}

/// Flags, PostHog's id of its answer, and why some are not remote.
type RemoteFlags = (BTreeMap<String, Flag>, Option<String>, Degradation);

/// PostHog's answer, and what is known of the flags that it lacks.
fn combine(outcome: Outcome, known: BTreeMap<String, (Evaluated, Duration)>) -> RemoteFlags {
    let known =
        known.into_iter().map(|(key, (flag, age))| (key, Flag::new(flag, FlagSource::LastKnownGood { age })));
    let answer = match outcome {
        Ok(answer) => answer,
        Err(failure) => {
            let degradation = Degradation { failure: Some(failure), ..Degradation::default() };
            return (known.collect(), None, degradation);
        }
    };
    let FlagsAnswer { is_partial, over_quota, ref request_id, ref flags } = *answer;
    let is_whole = answer.is_whole();
    let remote = flags.iter().map(|(key, flag)| (key.clone(), Flag::new(flag.clone(), FlagSource::Remote)));
    // A whole answer lacks only flags that do not exist any more. In the map, the later of two values wins.
    let flags = known.filter(|_| !is_whole).chain(remote).collect();
    (flags, request_id.clone(), Degradation { failure: None, is_partial, over_quota })
}

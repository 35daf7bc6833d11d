use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use posthog_rs::RequestContext;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::ServiceExt;
use tracing::Instrument;

use super::answer::FlagsAnswer;
use super::called::{Reported, Reporter};
use super::config::FlagsConfig;
use super::definitions::Definitions;
use super::evaluated::Evaluated;
use super::flag::{Flag, FlagSource};
use super::kept::Kept;
use super::known::LastKnownGood;
use super::local::LocalAnswer;
use super::options::{FlagOptions, Question};
use super::snapshot::{Flags, Snapshot, Trouble};
use super::stack::{self, FlagsStack};
use super::under_way::{Outcome, UnderWay};
use crate::ErrorKind;
use crate::api::{Api, PostHogClassifier};
use crate::credentials::{Credentials, SecretKey};
use crate::delivery::{Queue, SpoolConfig};
use crate::layers::CircuitState;
use crate::layers::{CircuitBreakerHandle, CircuitBreakerLayer};
use crate::monitor::{AttemptObserver, Failure};

/// The way to `/flags/` and what stands in for it.
#[derive(Debug)]
pub(crate) struct FlagsRoad {
    breaker: CircuitBreakerHandle,
    geoip: bool,
    known: Arc<LastKnownGood>,
    timeout: Duration,
    reported: Arc<Reported>,
    under_way: UnderWay,
}

/// What it is made of.
pub(crate) struct FlagsParts<'a> {
    pub(crate) api: &'a Arc<Api>,
    /// By which definitions are fetched, and how often, if flags are evaluated here.
    pub(crate) secret_keys: Option<(&'a Arc<Credentials<SecretKey>>, Duration)>,
    pub(crate) breaker: CircuitBreakerLayer<PostHogClassifier>,
    pub(crate) watch: AttemptObserver,
    /// Beside it, what is known is kept.
    pub(crate) spool: Option<&'a SpoolConfig>,
    /// Of fetching definitions.
    pub(crate) request_timeout: Duration,
    /// Unless the options say otherwise.
    pub(crate) geoip: bool,
}

impl FlagsRoad {
    pub(crate) fn new(config: &FlagsConfig, parts: FlagsParts<'_>) -> Self {
        let FlagsParts { api, breaker, watch, .. } = parts;
        let definitions = parts.secret_keys.map(|(keys, poll_interval)| {
            let stack = stack::of_definitions(watch.clone(), parts.request_timeout, Arc::clone(api));
            Definitions::new(stack, keys, poll_interval)
        });
        let kept = parts.spool.map(|spool| Arc::new(Kept::beside(spool, &api.host, config)));
        let stack = stack::of_flags(breaker.clone(), watch, config.timeout, Arc::clone(api));
        Self {
            breaker: breaker.handle(),
            geoip: parts.geoip,
            known: Arc::new(LastKnownGood::new(config.persons, config.age, kept)),
            timeout: config.timeout,
            reported: Arc::default(),
            under_way: UnderWay::new(stack, definitions),
        }
    }

    /// Reads what is kept on disk, and keeps it there up to date until the end.
    pub(crate) fn keep(&self) {
        if let Some(kept) = self.known.kept() {
            let keeping = Arc::clone(kept).run(Arc::clone(&self.known));
            self.under_way.spawn(keeping.in_current_span());
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
        let definitions = self.under_way.definitions();
        match definitions.and_then(|definitions| definitions.latest(Instant::now())) {
            Some((local, age)) if age <= self.known.age() => (local.evaluate(distinct_id, options), age),
            _ => <_>::default(),
        }
    }

    /// Waits for an answer while the breaker is closed. Else nobody waits: the request that finds out whether PostHog
    /// is back goes in the background.
    async fn ask(self: &Arc<Self>, question: &Question) -> Outcome {
        const NOT_ASKED: Failure = Failure { kind: ErrorKind::CircuitOpen, status: None };
        let waits = self.breaker.state() == CircuitState::Closed;
        if !waits && self.breaker.retry_in().is_none_or(|time| !time.is_zero()) {
            return Err(NOT_ASKED);
        }
        let asked = self
            .under_way
            .share(question, |stack, sender| Arc::clone(self).answer(stack, Arc::clone(question), sender));
        let Some(mut answer) = asked else { return Err(NOT_ASKED) };
        if !waits {
            return Err(NOT_ASKED);
        }
        let answered = answer.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
        answered.unwrap_or(Err(NOT_ASKED))
    }

    async fn answer(
        self: Arc<Self>,
        stack: FlagsStack,
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
        self.under_way.answered(&question);
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
        self.under_way.end()
    }
}

/// What PostHog answered, and what is known of the rest.
fn put_together(
    outcome: Outcome,
    known: BTreeMap<String, (Evaluated, Duration)>,
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

//! Sends events. The [`Worker`] starts attempts, the [`dispatcher`] chooses their events, and [`outcomes`] ends them. A batch
//! that fails steps aside to [`suspects`], and [`evidence`] knows whether PostHog accepts others at the time. [`pauses`] says when delivery rests.

mod attempt;
mod dispatcher;
mod evidence;
mod forgiven;
mod outcomes;
mod pauses;
mod sharing;
mod suspects;
#[cfg(test)]
mod tests;
mod verdict_counts;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tower::ServiceExt;
use tracing::Instrument;

use super::queue::{Limits, State};
use crate::Error;
use crate::api::{Outcome, Receipt};
use crate::credentials::ProjectToken;
use crate::layers::CircuitState;
use crate::rt::simulated::in_process;
use crate::rt::{foreign, lock, target};
pub use attempt::{AttemptClassifier, Slot, SlotService, attempts};
use dispatcher::Lane;
pub use dispatcher::{Dispatcher, DispatcherLinks};
pub use forgiven::Forgiven;
pub use verdict_counts::VerdictCounts;
#[cfg(feature = "metrics")]
pub use verdict_counts::VerdictKind;

/// When the worker sends.
#[derive(Clone, Debug)]
pub struct Pacing {
    /// How long an event waits for others to share its request.
    pub linger: Duration,
    pub in_flight: usize,
    /// How long to leave PostHog alone after an answer that only a person can change.
    pub refusal_pause: Duration,
}

/// Starts attempts for the events in the queue. One task, and one more for each request in flight.
pub struct Worker<L, Q> {
    dispatcher: Arc<Dispatcher>,
    /// The layers around live attempts.
    live: L,
    /// Those around attempts of suspects, which neither breaker nor monitor counts.
    suspect: Q,
    token_refused: watch::Receiver<bool>,
    token: watch::Receiver<Option<ProjectToken>>,
    breaker: watch::Receiver<CircuitState>,
    live_attempts: JoinSet<Result<Option<Receipt>, Error>>,
    /// Beside the live ones.
    suspect_attempts: JoinSet<Result<Option<Receipt>, Error>>,
}

impl<L: SlotService, Q: SlotService> Worker<L, Q> {
    pub fn new(dispatcher: Arc<Dispatcher>, live: L, suspect: Q) -> Self {
        Self {
            live,
            suspect,
            token_refused: dispatcher.credentials.refusals(),
            token: dispatcher.credentials.keys(),
            breaker: dispatcher.breaker.clone(),
            dispatcher,
            live_attempts: JoinSet::new(),
            suspect_attempts: JoinSet::new(),
        }
    }

    /// Runs until the queue is closed and empty. Aborting it aborts the requests in flight.
    pub async fn run(mut self) {
        let dispatcher = Arc::clone(&self.dispatcher);
        let queue = &dispatcher.queue;
        let mut linger: Option<Instant> = None;
        while !(queue.is_closed() && queue.look(State::is_done)) {
            queue.beat();
            if linger.is_some_and(|until| until <= Instant::now()) {
                linger = None;
                queue.step(State::make_due);
            }
            if queue.is_closed() {
                dispatcher.on_closing();
            }
            // Before sending, not only when it is its turn below.
            if self.token_refused.has_changed().unwrap_or(false) {
                self.on_probe_verdict();
            }
            if self.token.has_changed().unwrap_or(false) {
                self.on_new_token();
            }
            self.log_news();
            self.send();
            let stands_still = self.stands_still();
            queue.step(|state| state.set_in_trouble(stands_still));
            if linger.is_none() && queue.look(State::lingers) {
                linger = Some(Instant::now() + dispatcher.pacing.linger);
            }
            let paused_until = dispatcher.paused_until();
            let may_try = paused_until.is_none() && self.has_token();
            // What is rare comes first, and new events last, so that nothing starves. Each turn looks at all of them anyway.
            tokio::select! {
                biased;
                () = moment(paused_until), if self.has_slot() => lock(&dispatcher.state).pauses.end(),
                Ok(()) = self.token_refused.changed() => self.on_probe_verdict(),
                Ok(()) = self.token.changed() => self.on_new_token(),
                Ok(()) = self.breaker.changed() => {}
                Some(done) = self.live_attempts.join_next() => self.on_end(&done),
                Some(_) = self.suspect_attempts.join_next() => {}
                () = dispatcher.changed.notified() => {}
                () = moment(linger) => {}
                () = moment(dispatcher.due(Lane::Live)), if may_try && self.has_slot() => {}
                () = moment(dispatcher.due(Lane::Suspect)), if may_try && self.may_try_suspect() => {}
                () = queue.woken() => {}
            }
        }
    }

    /// Logs here, because the news comes from the caller's thread, where no subscriber may run.
    fn log_news(&self) {
        if self.dispatcher.queue.step(State::take_overflow_news) {
            let Limits { events, bytes, .. } = self.dispatcher.limits;
            foreign::log(
                || tracing::warn!(target: target::DELIVERY, events, bytes, "queue full: dropping events"),
            );
        }
        if self.dispatcher.queue.step(State::take_unmergeable_news) {
            foreign::log(|| {
                tracing::warn!(
                    target: target::DELIVERY,
                    "an alias has an id that PostHog refuses to merge: it merges nobody"
                )
            });
        }
        if self.dispatcher.queue.step(State::take_cut_id_news) {
            foreign::log(|| {
                tracing::warn!(
                    target: target::DELIVERY,
                    "a distinct id is longer than the 200 bytes that PostHog keeps: it was cut"
                )
            });
        }
    }

    fn send(&mut self) {
        while self.has_slot()
            && let Some(attempt) = self.dispatcher.choose(Lane::Live)
        {
            let task = self.live.clone().oneshot(Slot::of(attempt)).in_current_span();
            self.live_attempts.spawn(in_process(task));
        }
        while self.may_try_suspect()
            && let Some(attempt) = self.dispatcher.choose(Lane::Suspect)
        {
            let task = self.suspect.clone().oneshot(Slot::of(attempt)).in_current_span();
            self.suspect_attempts.spawn(in_process(task));
        }
    }

    /// Whether the events in memory are safer on disk.
    fn stands_still(&self) -> bool {
        let is_idle = self.live_attempts.is_empty() && self.suspect_attempts.is_empty();
        self.dispatcher.paused_until().is_some()
            || !self.dispatcher.is_closed()
            || !self.has_token()
            || (self.dispatcher.queue.is_closed() && is_idle)
    }

    fn on_end(&self, done: &Result<Result<Option<Receipt>, Error>, JoinError>) {
        let has_failed = match done {
            Ok(Ok(_)) => false,
            Ok(Err(error)) => matches!(Outcome::of(Err(error)), Outcome::Retry { .. }),
            Err(_) => true,
        };
        if has_failed {
            self.dispatcher.set_back();
        }
    }

    fn on_probe_verdict(&mut self) {
        self.token_refused.mark_unchanged();
        self.dispatcher.on_probe_verdict();
    }

    fn on_new_token(&mut self) {
        self.token.mark_unchanged();
        self.dispatcher.on_new_token();
    }

    /// While delivery is refused, one request is enough to find out that it works again.
    fn has_slot(&self) -> bool {
        let is_refused = lock(&self.dispatcher.state).pauses.refused().is_some();
        let slots = if is_refused { 1 } else { self.dispatcher.pacing.in_flight };
        self.live_attempts.len() < slots && self.has_token()
    }

    /// Suspects are tried only while PostHog accepts others, and never in the place of a live attempt.
    fn may_try_suspect(&self) -> bool {
        let slots = self.dispatcher.pacing.in_flight.div_ceil(2);
        self.suspect_attempts.len() < slots && self.dispatcher.may_try_suspects() && self.has_token()
    }

    fn has_token(&self) -> bool {
        self.token.borrow().is_some()
    }
}

/// Resolves then, or never.
async fn moment(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

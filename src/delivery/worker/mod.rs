//! Sends: [`outcomes`] decides what becomes of each batch, [`pauses`] when delivery rests, and [`bisect`] holds the
//! parts of batches that PostHog rejected.

mod bisect;
mod outcomes;
mod pauses;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};
use tower::{Service, ServiceExt};
use tracing::Instrument;

use super::queue::{Limits, Queue, State};
use crate::Error;
use crate::api::{Accepted, Batch};
use crate::credentials::{Credentials, ProjectToken};
use crate::layers::CircuitState;
use crate::rt::{Episode, metrics, target};
use bisect::{Case, Part, Suspects};
use pauses::Pauses;

/// When the worker sends.
#[derive(Clone, Debug)]
pub struct Pacing {
    /// How long an event waits for others to share its request.
    pub linger: Duration,
    pub in_flight: usize,
    /// How long to leave PostHog alone after an answer that only a person can change.
    pub refusal_pause: Duration,
}

/// Takes events from the queue, sends them, and tells the queue what became of them. One task, and one
/// more for each request under way.
pub struct Worker<S> {
    queue: Arc<Queue>,
    limits: Limits,
    stack: S,
    pacing: Pacing,
    credentials: Arc<Credentials<ProjectToken>>,
    /// Whether the latest probe found the token refused: capture alone does not notice, it takes the events
    /// of an unknown token and throws them away.
    token_refused: watch::Receiver<bool>,
    /// What the requests that begin now are sent with. Without one, none does.
    token: watch::Receiver<Option<ProjectToken>>,
    breaker: watch::Receiver<CircuitState>,
    sends: JoinSet<Result<Accepted, Error>>,
    /// With the token of when it was sent.
    sent: HashMap<Id, (Part, Option<ProjectToken>)>,
    suspects: Suspects,
    /// Shrinks when PostHog says that a batch is too large.
    batch_bytes: usize,
    pauses: Pauses,
    /// Whose turn it is when live events and the backlog of the spool both have a batch.
    backlog_is_next: bool,
    /// The event that PostHog last hung up on, and how often.
    hung_up_on: (u64, u32),
    /// What batches of one event share when they are rejected.
    lone: Case,
    setting_aside: Episode,
    evicting: Episode,
    parking: Episode,
    closing: bool,
}

impl<S> Worker<S>
where
    S: Service<Batch, Response = Accepted, Error = Error, Future: Send> + Clone + Send + 'static,
{
    pub fn new(
        queue: Arc<Queue>,
        stack: S,
        pacing: Pacing,
        setback: (Duration, Duration),
        credentials: Arc<Credentials<ProjectToken>>,
        breaker: watch::Receiver<CircuitState>,
    ) -> Self {
        let limits = queue.limits();
        Self {
            batch_bytes: limits.batch_bytes,
            limits,
            queue,
            stack,
            token_refused: credentials.refusals(),
            token: credentials.keys(),
            credentials,
            breaker,
            sends: JoinSet::new(),
            sent: HashMap::new(),
            suspects: Suspects::default(),
            pauses: Pauses::new(setback, pacing.refusal_pause),
            pacing,
            backlog_is_next: false,
            hung_up_on: (0, 0),
            lone: Case::default(),
            setting_aside: Episode::default(),
            evicting: Episode::default(),
            parking: Episode::default(),
            closing: false,
        }
    }

    /// Runs until the queue is closed and empty. Aborting it aborts the requests in flight.
    pub async fn run(mut self) {
        let mut linger: Option<Instant> = None;
        while !(self.queue.is_closed() && self.queue.look(State::is_done)) {
            self.queue.beat();
            if linger.is_some_and(|until| until <= Instant::now()) {
                linger = None;
                self.queue.step(State::make_due);
            }
            if self.queue.is_closed()
                && !std::mem::replace(&mut self.closing, true)
                && self.pauses.refused().is_some()
            {
                // The last chance: a pause of our own must not use up shutdown's deadline.
                self.pauses.end();
            }
            // Before sending, not only when it is its turn below.
            if self.token_refused.has_changed().unwrap_or(false) {
                self.on_probe_verdict();
            }
            if self.token.has_changed().unwrap_or(false) {
                self.on_new_token();
            }
            self.log_overflow();
            self.send();
            let is_closed = *self.breaker.borrow() == CircuitState::Closed;
            let in_trouble = self.pauses.until().is_some() || !is_closed || !self.has_token();
            self.queue.step(|state| state.set_in_trouble(in_trouble));
            if linger.is_none() && self.queue.look(State::lingers) {
                linger = Some(Instant::now() + self.pacing.linger);
            }
            tokio::select! {
                () = self.queue.woken() => {}
                Some(done) = self.sends.join_next_with_id() => self.finish(done),
                () = moment(linger) => {}
                () = moment(self.pauses.until()), if self.has_slot() => self.pauses.end(),
                Ok(()) = self.token_refused.changed() => self.on_probe_verdict(),
                Ok(()) = self.token.changed() => self.on_new_token(),
                Ok(()) = self.breaker.changed() => {}
                () = moment(self.suspects.retry_at()), if self.may_try_parked() => {}
            }
        }
    }

    /// Logged here and not where it is seen: that is on the caller's thread, where no subscriber is to run.
    fn log_overflow(&self) {
        if self.queue.step(State::take_overflow_news) {
            let Limits { events, bytes, .. } = self.limits;
            tracing::warn!(target: target::DELIVERY, events, bytes, "queue full: dropping events");
        }
    }

    fn send(&mut self) {
        while self.pauses.until().is_none() && self.has_slot() {
            let Some(part) = self.next_part() else { return };
            self.backlog_is_next = !part.events.first().is_some_and(|event| event.from_disk);
            metrics::batch(part.events.len(), part.events.iter().map(|event| event.json.len()).sum());
            let batch = Batch::new(part.events.iter().map(|event| event.json.clone()));
            let task = self.sends.spawn(self.stack.clone().oneshot(batch).in_current_span());
            self.sent.insert(task.id(), (part, self.token.borrow().clone()));
        }
    }

    /// Suspects first, one at a time, so that they never hold up the rest. Then live events and the backlog by
    /// turns, so that neither waits for the end of the other.
    fn next_part(&mut self) -> Option<Part> {
        let suspect = if self.suspect_is_under_way() { None } else { self.suspects.pop() };
        let batch = |from_disk| {
            Some(Part {
                events: self.queue.step(|state| state.take(self.batch_bytes, from_disk))?,
                case: None,
            })
        };
        suspect.or_else(|| batch(self.backlog_is_next)).or_else(|| batch(!self.backlog_is_next))
    }

    fn may_try_parked(&self) -> bool {
        self.has_slot() && self.pauses.until().is_none() && !self.suspect_is_under_way()
    }

    /// While delivery is refused, one request is enough to find out that it works again.
    fn has_slot(&self) -> bool {
        let slots = if self.pauses.refused().is_some() { 1 } else { self.pacing.in_flight };
        self.sends.len() < slots && self.has_token()
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

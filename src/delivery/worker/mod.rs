//! Sends: [`outcomes`] decides what becomes of each batch, [`pauses`] when delivery rests, and [`suspects`] holds the
//! parts of batches that PostHog rejected.

mod outcomes;
mod pauses;
mod suspects;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};
use tower::{Service, ServiceExt};
use tracing::Instrument;

use super::encode::{Encoder, os};
use super::queue::{Captured, Encoded, Queue};
use crate::Error;
use crate::api::Accepted;
use crate::api::Batch;
use crate::credentials::{Credentials, ProjectToken};
use crate::layers::CircuitState;
use crate::rt::{Episode, metrics};
use pauses::Pauses;
use suspects::{Case, Part, Suspects};

/// When the worker sends.
#[derive(Clone, Debug)]
pub(crate) struct Pacing {
    /// How long an event waits for others to share its request.
    pub(crate) linger: Duration,
    pub(crate) in_flight: usize,
    /// How long to leave PostHog alone after an answer that only a person can change.
    pub(crate) refusal_pause: Duration,
}

/// Takes events from the queue, sends them, and tells the queue what became of them. One task, and one
/// more for each request under way.
pub(crate) struct Worker<S> {
    queue: Arc<Queue>,
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
    burying: Episode,
    evicting: Episode,
    parking: Episode,
    closing: bool,
}

impl<S> Worker<S>
where
    S: Service<Batch, Response = Accepted, Error = Error, Future: Send> + Clone + Send + 'static,
{
    pub(crate) fn new(
        queue: Arc<Queue>,
        stack: S,
        pacing: Pacing,
        setback: (Duration, Duration),
        credentials: Arc<Credentials<ProjectToken>>,
        breaker: watch::Receiver<CircuitState>,
    ) -> Self {
        Self {
            batch_bytes: queue.limits.batch_bytes,
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
            burying: Episode::default(),
            evicting: Episode::default(),
            parking: Episode::default(),
            closing: false,
        }
    }

    /// Runs until the queue is closed and empty. Aborting it aborts the requests under way.
    pub(crate) async fn run(mut self, encoder: impl FnOnce() -> Encoder + Send) {
        os_known().await;
        let mut encoder = encoder();
        let (mut linger, mut gather): (Option<Instant>, Option<Instant>) = (None, None);
        while !(self.queue.is_closed() && self.queue.is_done()) {
            if linger.is_some_and(|until| until <= Instant::now()) {
                linger = None;
                self.queue.make_due();
            }
            if gather.is_some_and(|until| until <= Instant::now()) {
                gather = None;
                self.queue.end_gathering();
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
                self.hear_the_probe();
            }
            if self.token.has_changed().unwrap_or(false) {
                self.take_the_new_token();
            }
            let has_more = self.encode(&mut encoder);
            self.send();
            let is_closed = *self.breaker.borrow() == CircuitState::Closed;
            self.queue.set_in_trouble(self.pauses.until().is_some() || !is_closed || !self.has_token());
            if linger.is_none() && self.queue.lingers() {
                linger = Some(Instant::now() + self.pacing.linger);
            }
            if gather.is_none() && self.queue.gathers() {
                gather = Some(Instant::now() + GATHER);
            }
            tokio::select! {
                // A chunk at a time, so that neither sending nor the runtime's other tasks wait for long.
                () = tokio::task::yield_now(), if has_more => {}
                () = self.queue.wake.notified(), if !has_more => {}
                Some(done) = self.sends.join_next_with_id() => self.finish(done),
                () = moment(linger.into_iter().chain(gather).min()) => {}
                () = moment(self.pauses.until()), if self.has_slot() => self.pauses.end(),
                Ok(()) = self.token_refused.changed() => self.hear_the_probe(),
                Ok(()) = self.token.changed() => self.take_the_new_token(),
                Ok(()) = self.breaker.changed() => {}
                () = moment(self.suspects.retry_at()), if self.may_try_parked() => {}
            }
        }
    }

    /// Encodes a chunk if it is time to. Tells whether there may be another.
    fn encode(&self, encoder: &mut Encoder) -> bool {
        if !self.queue.must_encode() {
            return false;
        }
        let mut raw = self.queue.take_raw();
        let (mut encoded, mut bytes) = (Vec::with_capacity(raw.len()), 0);
        while bytes < self.queue.limits.batch_bytes
            && let Some(Captured { event, ticket }) = raw.pop_front()
        {
            let result = encoder.encode(event, ticket.at);
            bytes += result.as_ref().map_or(0, Bytes::len);
            encoded.push((ticket, result));
        }
        self.queue.put_encoded(encoded, raw);
        true
    }

    fn send(&mut self) {
        while self.pauses.until().is_none() && self.has_slot() {
            let Some(part) = self.next_part() else { return };
            self.backlog_is_next = !part.events.first().is_some_and(Encoded::is_from_disk);
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
            Some(Part { events: self.queue.take_batch(self.batch_bytes, from_disk)?, case: None })
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

/// Resolves when the operating system's name is known. Asking may start a process, so it is done in a thread
/// of its own, once a process: the runtime's blocking threads may all be taken for long.
async fn os_known() {
    let (known, told) = oneshot::channel();
    let asking = std::thread::Builder::new().name("posthog-health-os".into());
    let asked = asking.spawn(move || known.send(os()));
    if asked.is_ok() {
        let _ = told.await;
    }
}

/// For how long events that go to disk first wait for others to share the write.
const GATHER: Duration = Duration::from_millis(5);

/// Resolves then, or never.
async fn moment(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

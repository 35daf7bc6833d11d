use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tower::{Service, ServiceExt};
use tracing::Instrument;

use super::DropReason;
use super::encode::{Encoder, os};
use super::queue::{Encoded, Queue};
use super::suspects::{Case, Part, Suspects};
use crate::layers::retry::full_jitter;
use crate::outcome::{Accepted, Outcome};
use crate::transport::Batch;
use crate::{Error, ErrorKind};

/// When the worker sends.
#[derive(Clone, Debug)]
pub(crate) struct Pacing {
    /// How long an event waits for others to share its request.
    pub(crate) linger: Duration,
    pub(crate) in_flight: usize,
    pub(crate) batch_bytes: usize,
    /// How long to leave PostHog alone after an answer that only a person can change.
    pub(crate) refusal_pause: Duration,
    /// The first and the longest pause after a batch whose attempts ended.
    pub(crate) setback: (Duration, Duration),
}

/// Takes events from the queue, sends them, and tells the queue what became of them. One task, and one
/// more for each request under way.
pub(crate) struct Worker<S> {
    queue: Arc<Queue>,
    stack: S,
    pacing: Pacing,
    /// Whether the latest probe found the token refused: capture alone does not notice, it takes the events
    /// of an unknown token and throws them away.
    token_refused: watch::Receiver<bool>,
    sends: JoinSet<Result<Accepted, Error>>,
    sent: HashMap<Id, Part>,
    suspects: Suspects,
    /// Shrinks when PostHog says that a batch is too large.
    batch_bytes: usize,
    held_until: Option<Instant>,
    setbacks: u32,
    /// What stopped delivery, so that it is logged once an episode.
    refused: Option<ErrorKind>,
    refusals: u32,
    /// The event that PostHog last hung up on, and how often.
    hung_up_on: (u64, u32),
    /// What batches of one event share when they are rejected.
    lone: Case,
    /// Each is logged once until PostHog takes events again.
    burying: bool,
    evicting: bool,
    parking: bool,
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
        token_refused: watch::Receiver<bool>,
    ) -> Self {
        Self {
            queue,
            stack,
            batch_bytes: pacing.batch_bytes,
            pacing,
            token_refused,
            sends: JoinSet::new(),
            sent: HashMap::new(),
            suspects: Suspects::default(),
            held_until: None,
            setbacks: 0,
            refused: None,
            refusals: 0,
            hung_up_on: (0, 0),
            lone: Case::default(),
            burying: false,
            evicting: false,
            parking: false,
            closing: false,
        }
    }

    /// Runs until the queue is closed and empty. Aborting it aborts the requests under way.
    pub(crate) async fn run(mut self, encoder: impl FnOnce() -> Encoder + Send) {
        os_known().await;
        let mut encoder = encoder();
        let mut linger: Option<Instant> = None;
        while !(self.queue.is_closed() && self.queue.is_empty()) {
            if linger.is_some_and(|until| until <= Instant::now()) {
                linger = None;
                self.queue.make_due();
            }
            if self.queue.is_closed() && !std::mem::replace(&mut self.closing, true) && self.refused.is_some()
            {
                // The last chance: a pause of our own must not use up shutdown's deadline.
                self.held_until = None;
            }
            // Before sending, not only when it is its turn below.
            if self.token_refused.has_changed().unwrap_or(false) {
                self.hear_the_probe();
            }
            let has_more = self.encode(&mut encoder);
            self.send();
            if linger.is_none() && self.queue.lingers() {
                linger = Some(Instant::now() + self.pacing.linger);
            }
            tokio::select! {
                // A chunk at a time, so that neither sending nor the runtime's other tasks wait for long.
                () = tokio::task::yield_now(), if has_more => {}
                () = self.queue.wake.notified(), if !has_more => {}
                Some(done) = self.sends.join_next_with_id() => self.finish(done),
                () = moment(linger) => {}
                () = moment(self.held_until), if self.has_slot() => self.held_until = None,
                Ok(()) = self.token_refused.changed() => self.hear_the_probe(),
                () = moment(self.suspects.retry_at()), if self.may_try_parked() => {}
            }
        }
    }

    /// Encodes a chunk if it is time to. Tells whether there may be another.
    fn encode(&self, encoder: &mut Encoder) -> bool {
        if !self.queue.must_encode() {
            return false;
        }
        let raw = self.queue.take_raw();
        let encoded = raw.into_iter().map(|raw| (raw.ticket, encoder.encode(raw.event, raw.at))).collect();
        self.queue.put_encoded(encoded);
        true
    }

    fn send(&mut self) {
        while self.held_until.is_none() && self.has_slot() {
            let Some(part) = self.next_part() else { return };
            let batch = Batch::new(part.events.iter().map(|event| event.json.clone()));
            let task = self.sends.spawn(self.stack.clone().oneshot(batch).in_current_span());
            self.sent.insert(task.id(), part);
        }
    }

    /// Suspects first, one at a time, so that they never hold up the rest.
    fn next_part(&mut self) -> Option<Part> {
        let suspect = if self.suspect_is_under_way() { None } else { self.suspects.pop() };
        suspect.or_else(|| Some(Part { events: self.queue.take_batch(self.batch_bytes)?, case: None }))
    }

    fn may_try_parked(&self) -> bool {
        self.has_slot() && self.held_until.is_none() && !self.suspect_is_under_way()
    }

    fn suspect_is_under_way(&self) -> bool {
        self.sent.values().any(|part| part.case.is_some())
    }

    /// While delivery is refused, one request is enough to find out that it works again.
    fn has_slot(&self) -> bool {
        let slots = if self.refused.is_some() { 1 } else { self.pacing.in_flight };
        self.sends.len() < slots
    }

    fn finish(&mut self, done: Result<(Id, Result<Accepted, Error>), JoinError>) {
        let (id, result) = match done {
            Ok((id, result)) => (id, result),
            Err(lost) => (lost.id(), Err(Error::new(ErrorKind::ConnectionLost).with_source(lost))),
        };
        let Some(Part { events: batch, case }) = self.sent.remove(&id) else { return };
        match (Outcome::of(result.as_ref()), result) {
            (Outcome::Discarded, _) => {
                self.queue.settle(&batch, Some(DropReason::OverQuota));
                self.refuse(
                    ErrorKind::QuotaExceeded,
                    "PostHog discards events, over the billing quota: pausing",
                );
            }
            (_, Ok(_)) => {
                self.queue.settle(&batch, None);
                self.recover(case);
            }
            (Outcome::Split, Err(error)) => self.split(batch, case, &error),
            (Outcome::Stop, Err(error)) => {
                self.queue.give_back(batch);
                self.refuse(error.kind(), &format!("{error}: delivery pauses, events are kept"));
            }
            // The rate limiter pauses already.
            (Outcome::SlowDown { .. }, Err(_)) => self.queue.give_back(batch),
            (_, Err(_)) => self.set_back(batch),
        }
        if !self.suspect_is_under_way() {
            self.suspects.rest(self.pacing.refusal_pause);
        }
    }

    /// Something in the batch will not be taken as it is.
    fn split(&mut self, batch: Vec<Encoded>, case: Option<Case>, error: &Error) {
        match (error.kind(), batch.as_slice()) {
            (ErrorKind::TooLarge, [event]) if !self.is_too_large(event, error) => self.set_back(batch),
            (ErrorKind::TooLarge, [event]) => self.bury(event, error),
            (ErrorKind::TooLarge, _) => self.shrink(batch, error),
            _ => self.isolate(batch, case, error),
        }
    }

    /// Looks for the poisoned events of a rejected batch by halving it.
    fn isolate(&mut self, batch: Vec<Encoded>, case: Option<Case>, error: &Error) {
        let (is_new, is_lone) = (case.is_none(), batch.len() == 1);
        let case = case.unwrap_or_else(|| if is_lone { self.lone.clone() } else { Case::default() });
        if case.rejected() || (is_new && self.suspects.are_parked()) {
            self.suspects.park(batch, &case, self.pacing.refusal_pause);
            if !std::mem::replace(&mut self.parking, true) {
                tracing::warn!(
                    "PostHog rejects event after event: parked, the dead letters say why: {error}"
                );
            }
        } else if let [poison] = batch.as_slice() {
            self.bury(poison, error);
        } else {
            let (first, second) = self.queue.halve(batch);
            self.suspects.push(second, case.clone());
            self.suspects.push(first, case);
        }
    }

    fn bury(&mut self, event: &Encoded, error: &Error) {
        let evicted = self.queue.bury(event, error);
        if !std::mem::replace(&mut self.burying, true) {
            tracing::warn!("events are set aside as dead letters: {error}");
        }
        if evicted > 0 && !std::mem::replace(&mut self.evicting, true) {
            tracing::warn!("too many dead letters: the oldest are dropped");
        }
    }

    /// Sends the events again in smaller batches, unless no PostHog takes so little: then it is something
    /// else that answers.
    fn shrink(&mut self, batch: Vec<Encoded>, error: &Error) {
        let bytes: usize = batch.iter().map(|event| event.json.len()).sum();
        self.queue.give_back(batch);
        if bytes <= SMALLEST_LIMIT {
            return self.refuse(
                ErrorKind::TooLarge,
                &format!("{error}, however small: delivery pauses, events are kept"),
            );
        }
        if self.batch_bytes == self.pacing.batch_bytes {
            tracing::info!("PostHog takes only smaller batches");
        }
        self.batch_bytes = self.batch_bytes.min(bytes).div_ceil(2).max(SMALLEST_LIMIT);
    }

    /// Whether to believe that this event alone is too large: when PostHog said so of a large one, or hung up
    /// on it again and again.
    fn is_too_large(&mut self, event: &Encoded, error: &Error) -> bool {
        if error.status().is_some() {
            return event.json.len() > SMALLEST_LIMIT;
        }
        let hang_ups = if self.hung_up_on.0 == event.number() { self.hung_up_on.1 + 1 } else { 1 };
        self.hung_up_on = (event.number(), hang_ups);
        hang_ups >= 3
    }

    /// Tries again after a pause that grows.
    fn set_back(&mut self, batch: Vec<Encoded>) {
        self.queue.give_back(batch);
        let (base, cap) = self.pacing.setback;
        self.hold(full_jitter(base, cap, self.setbacks, fastrand::f64()));
        self.setbacks = self.setbacks.saturating_add(1);
    }

    /// Pauses after an answer that only a person can change: briefly at first, since it may have been a stray
    /// one, then longer.
    fn refuse(&mut self, kind: ErrorKind, what: &str) {
        let first = Duration::from_secs(1).min(self.pacing.refusal_pause);
        let pause = first.saturating_mul(1 << self.refusals.min(31)).min(self.pacing.refusal_pause);
        self.refusals = self.refusals.saturating_add(1);
        self.hold(pause);
        if self.refused.replace(kind) != Some(kind) {
            tracing::warn!("{what}");
        }
    }

    fn hear_the_probe(&mut self) {
        let refused = *self.token_refused.borrow_and_update();
        if refused {
            self.refuse(
                ErrorKind::Unauthorized,
                "a probe found the project token refused: delivery pauses, events are kept",
            );
            self.hold(self.pacing.refusal_pause);
        } else if self.refused == Some(ErrorKind::Unauthorized) {
            self.recover(None);
        }
    }

    /// PostHog took events: whatever paused delivery is over.
    fn recover(&mut self, case: Option<Case>) {
        self.held_until = None;
        (self.setbacks, self.refusals) = (0, 0);
        (self.burying, self.evicting) = (false, false);
        self.lone.accepted();
        if let Some(case) = case {
            case.accepted();
            self.suspects.unpark();
            self.parking = false;
        }
        self.batch_bytes = (self.batch_bytes + self.batch_bytes / 64).min(self.pacing.batch_bytes);
        if self.refused.take().is_some() {
            tracing::info!("delivery resumed");
        }
    }

    fn hold(&mut self, time: Duration) {
        self.held_until = self.held_until.max(Instant::now().checked_add(time));
    }
}

/// No PostHog and no proxy before one takes less than this.
const SMALLEST_LIMIT: usize = 16 * 1024;

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

/// Resolves then, or never.
async fn moment(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

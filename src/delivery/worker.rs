use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tower::{Service, ServiceExt};

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
    sends: JoinSet<Result<Accepted, Error>>,
    sent: HashMap<Id, Part>,
    suspects: Suspects,
    /// Shrinks when PostHog says that a batch is too large.
    batch_bytes: usize,
    held_until: Option<Instant>,
    setbacks: u32,
    /// What stopped delivery, so that it is logged once an episode.
    refused: Option<ErrorKind>,
    /// PostHog rejects events: logged once until it takes some.
    rejecting: bool,
}

impl<S> Worker<S>
where
    S: Service<Batch, Response = Accepted, Error = Error, Future: Send> + Clone + Send + 'static,
{
    pub(crate) fn new(queue: Arc<Queue>, stack: S, pacing: Pacing) -> Self {
        Self {
            queue,
            stack,
            batch_bytes: pacing.batch_bytes,
            pacing,
            sends: JoinSet::new(),
            sent: HashMap::new(),
            suspects: Suspects::default(),
            held_until: None,
            setbacks: 0,
            refused: None,
            rejecting: false,
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
            let task = self.sends.spawn(self.stack.clone().oneshot(batch));
            self.sent.insert(task.id(), part);
        }
    }

    /// Suspects first, one at a time, so that they never hold up the rest.
    fn next_part(&mut self) -> Option<Part> {
        let suspect_is_under_way = self.sent.values().any(|part| part.case.is_some());
        let suspect = if suspect_is_under_way { None } else { self.suspects.pop() };
        suspect.or_else(|| Some(Part { events: self.queue.take_batch(self.batch_bytes)?, case: None }))
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
        match Outcome::of(result.as_ref()) {
            Outcome::Delivered => {
                self.queue.settle(&batch, None);
                self.recover();
            }
            Outcome::Discarded => {
                self.queue.settle(&batch, Some(DropReason::OverQuota));
                self.refuse(ErrorKind::QuotaExceeded, "PostHog discards events: over the billing quota");
            }
            Outcome::Retry { .. } => {
                self.queue.give_back(batch);
                let (base, cap) = self.pacing.setback;
                self.hold(full_jitter(base, cap, self.setbacks, fastrand::f64()));
                self.setbacks = self.setbacks.saturating_add(1);
            }
            // The rate limiter pauses already.
            Outcome::SlowDown { .. } => self.queue.give_back(batch),
            Outcome::Split => {
                if let Err(error) = result {
                    self.split(batch, case.unwrap_or_default(), &error);
                }
            }
            Outcome::Stop => {
                self.queue.give_back(batch);
                if let Err(error) = result {
                    self.refuse(error.kind(), &error.to_string());
                }
            }
        }
    }

    /// Something in the batch will never be taken: an event alone becomes a dead letter, what is too large
    /// goes again in smaller batches, and among several the poisoned ones are looked for.
    fn split(&mut self, batch: Vec<Encoded>, case: Case, error: &Error) {
        if let [poison] = batch.as_slice() {
            self.queue.bury(poison, error);
            if !std::mem::replace(&mut self.rejecting, true) {
                tracing::warn!("events are set aside as dead letters: {error}");
            }
            if error.kind() == ErrorKind::BadRequest && case.found_poison() {
                self.suspects.close(&case).into_iter().for_each(|part| self.queue.give_back(part.events));
                self.refuse(
                    ErrorKind::BadRequest,
                    "PostHog rejects many events of a batch, look at the dead letters",
                );
            }
        } else if error.kind() == ErrorKind::TooLarge {
            let bytes: usize = batch.iter().map(|event| event.json.len()).sum();
            self.batch_bytes = self.batch_bytes.min(bytes).div_ceil(2);
            tracing::info!(batch_bytes = self.batch_bytes, "PostHog takes only smaller batches");
            self.queue.give_back(batch);
        } else {
            let (first, second) = self.queue.halve(batch);
            self.suspects.push(second, case.clone());
            self.suspects.push(first, case);
        }
    }

    fn refuse(&mut self, kind: ErrorKind, what: &str) {
        self.hold(self.pacing.refusal_pause);
        if self.refused.replace(kind) != Some(kind) {
            let again_in = self.pacing.refusal_pause;
            tracing::warn!(?again_in, "delivery paused, events kept: {what}");
        }
    }

    fn recover(&mut self) {
        self.setbacks = 0;
        self.rejecting = false;
        if self.refused.take().is_some() {
            tracing::info!("delivery resumed");
        }
    }

    fn hold(&mut self, time: Duration) {
        self.held_until = self.held_until.max(Instant::now().checked_add(time));
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

/// Resolves then, or never.
async fn moment(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

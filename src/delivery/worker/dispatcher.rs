use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Pacing;
use super::attempt::Attempt;
use super::evidence::Evidence;
use super::forgiven::Forgiven;
use super::pauses::Pauses;
use super::sharing::requests;
use super::suspects::{Part, Suspects};
use super::verdict_counts::VerdictCounts;
use crate::api::{CaptureWarning, Protocols, TRIAL_EVENTS};
use crate::credentials::{Credentials, ProjectToken};
use crate::delivery::queue::{Limits, Queue, QueuedEvent, State};
use crate::layers::CircuitState;
use crate::rt::{Episode, lock};

/// Chooses the events of each attempt, and decides their fate when it ends.
///
/// The [worker](super::Worker) and the service below its layers share it. The worker starts attempts, and a retry within
/// the layers chooses anew.
pub struct Dispatcher {
    pub queue: Arc<Queue>,
    pub limits: Limits,
    pub pacing: Pacing,
    pub credentials: Arc<Credentials<ProjectToken>>,
    pub forgiven: Arc<Forgiven>,
    pub verdicts: Arc<VerdictCounts>,
    protocols: Arc<Protocols>,
    refused: watch::Receiver<bool>,
    pub breaker: watch::Receiver<CircuitState>,
    pub state: Mutex<Dispatch>,
    /// Notified when the worker has something new to wait for.
    pub changed: Notify,
}

/// What the dispatcher shares with other parts of the client.
pub struct DispatcherLinks {
    pub credentials: Arc<Credentials<ProjectToken>>,
    pub breaker: watch::Receiver<CircuitState>,
    pub forgiven: Arc<Forgiven>,
    pub verdicts: Arc<VerdictCounts>,
    pub protocols: Arc<Protocols>,
}

/// The state behind the dispatcher's lock.
pub struct Dispatch {
    pub pauses: Pauses,
    pub evidence: Evidence,
    pub suspects: Suspects,
    /// What was taken from the queue together with an earlier batch and goes in requests of its own.
    apart: VecDeque<Vec<QueuedEvent>>,
    pub batch_size: BatchSize,
    /// A failed batch went back to the queue. Nothing is taken from there before this time.
    pub rests_until: Option<Instant>,
    /// Whether the backlog goes next when live events and the backlog of the spool both have a batch.
    backlog_is_next: bool,
    pub live: LiveAttempts,
    /// The queue is closed. These events have their last chance.
    pub is_closing: bool,
    pub episodes: Episodes,
}

/// The live attempts under way, also while they wait for the circuit breaker.
#[derive(Default)]
pub struct LiveAttempts {
    /// One carries events that have failed before, for want of others. One at a time, because what becomes of it decides
    /// about the others.
    undecided: bool,
    /// How many carry other events.
    others: usize,
}

impl LiveAttempts {
    fn begin(&mut self, part: &Part) {
        match part.record {
            Some(_) => self.undecided = true,
            None => self.others += 1,
        }
    }

    pub fn end(&mut self, part: &Part) {
        match part.record {
            Some(_) => self.undecided = false,
            None => self.others -= 1,
        }
    }
}

/// For the log.
#[derive(Default)]
pub struct Episodes {
    pub searching: Episode,
    pub dead_lettering: Episode,
    pub evicting: Episode,
    pub parking: Episode,
    /// By [`CaptureWarning`].
    pub warned: [Episode; CaptureWarning::ALL.len()],
}

/// How the events of an attempt were chosen, and who counts its failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Events that stand for all others. Their failure says something about PostHog.
    Live,
    /// Events that failed while others were accepted. Their failure says something about these events.
    Suspect,
}

/// The bytes of a batch. They shrink when PostHog rejects a batch as too large, and grow back while it accepts more.
#[derive(Debug)]
pub struct BatchSize {
    pub bytes: usize,
    most: usize,
    /// The largest batch that was accepted since a larger one was rejected.
    accepted: usize,
}

/// No PostHog and no proxy before one takes less than this.
pub const SMALLEST_LIMIT: usize = 16 * 1024;

impl BatchSize {
    fn new(most: usize) -> Self {
        Self { bytes: most, most, accepted: 0 }
    }

    pub fn accepted(&mut self, bytes: usize) {
        self.accepted = self.accepted.max(bytes);
        self.bytes = (self.bytes + self.bytes / 64).min(self.most);
    }

    /// Whether a batch that is rejected as too large may be too large: none of its size was accepted, and no limit is
    /// that small.
    pub fn may_be_too_large(&self, bytes: usize) -> bool {
        bytes > self.accepted.max(SMALLEST_LIMIT)
    }

    /// Shrinks after a batch that was too large. Returns whether that is news.
    pub fn shrink(&mut self, bytes: usize) -> bool {
        let is_news = self.bytes == self.most;
        self.bytes = self.bytes.min(bytes).div_ceil(2).max(SMALLEST_LIMIT);
        self.accepted = self.accepted.min(self.bytes);
        is_news
    }
}

impl Dispatcher {
    pub fn new(
        queue: Arc<Queue>,
        pacing: Pacing,
        setback: (Duration, Duration),
        links: DispatcherLinks,
    ) -> Arc<Self> {
        let DispatcherLinks { credentials, breaker, forgiven, verdicts, protocols } = links;
        let limits = queue.limits();
        let state = Dispatch {
            pauses: Pauses::new(setback, pacing.refusal_pause),
            evidence: Evidence::new(Instant::now()),
            suspects: Suspects::default(),
            apart: VecDeque::new(),
            batch_size: BatchSize::new(limits.batch_bytes),
            rests_until: None,
            backlog_is_next: false,
            live: LiveAttempts::default(),
            is_closing: false,
            episodes: Episodes::default(),
        };
        Arc::new(Self {
            queue,
            limits,
            pacing,
            refused: credentials.refusals(),
            breaker,
            credentials,
            forgiven,
            verdicts,
            protocols,
            state: Mutex::new(state),
            changed: Notify::new(),
        })
    }

    /// The token of requests that begin now. Without a token, none begins.
    pub fn token(&self) -> Option<ProjectToken> {
        self.credentials.current()
    }

    /// Whether the latest probe found the token refused. Capture does not tell, because it accepts the events of an unknown
    /// token and throws them away.
    pub fn token_is_refused(&self) -> bool {
        *self.refused.borrow()
    }

    /// Chooses the next batch, unless delivery pauses.
    ///
    /// A live attempt carries events that have not failed, if there are any. Live events and the backlog alternate, so that
    /// neither waits for the end of the other. Else it carries a batch of which it is not known that others are accepted.
    pub fn choose(self: &Arc<Self>, lane: Lane) -> Option<Attempt> {
        let mut state = lock(&self.state);
        if state.pauses.until().is_some() || self.token().is_none() {
            return None;
        }
        let now = Instant::now();
        let part = match lane {
            Lane::Live => self.next_batch(&mut state, now).or_else(|| self.next_undecided(&mut state, now)),
            Lane::Suspect => self.next_suspect(&mut state, true, now),
        }?;
        if lane == Lane::Live {
            state.live.begin(&part);
        }
        Some(Attempt::new(Arc::clone(self), part, lane))
    }

    /// Returns `None` while a whole queue of events has stepped aside. New events would fill the memory, so they wait on disk.
    fn next_batch(&self, state: &mut Dispatch, now: Instant) -> Option<Part> {
        if state.suspects.are_too_many(&self.limits) && !state.is_closing {
            return None;
        }
        if state.rests_until.is_some_and(|until| now < until) {
            return None;
        }
        if let Some(events) = state.apart.pop_front() {
            return Some(Part { events, record: None });
        }
        let bytes = state.batch_size.bytes;
        let mut events = state.evidence.batch_events(self.limits.batch_events);
        if self.protocols.is_trial_due(now) {
            events = events.min(TRIAL_EVENTS);
        }
        let take = |from_disk| self.queue.step(|queue| queue.take((events, bytes), from_disk));
        let events = take(state.backlog_is_next).or_else(|| take(!state.backlog_is_next))?;
        state.backlog_is_next = !events.first().is_some_and(|event| event.from_disk);
        let Some(requests) = requests(&events, self.protocols.may_speak_v1()) else {
            return Some(Part { events, record: None });
        };
        state.apart.extend(self.queue.divide(events, &requests));
        state.apart.pop_front().map(|events| Part { events, record: None })
    }

    /// The next batch of which it is not known whether others are accepted, or else a suspect that may stand for all.
    fn next_undecided(&self, state: &mut Dispatch, now: Instant) -> Option<Part> {
        if state.live.undecided {
            return None;
        }
        let undecided = self.next_suspect(state, false, now);
        undecided.or_else(|| {
            if self.may_stand_for_all(state) { self.next_suspect(state, true, now) } else { None }
        })
    }

    /// Whether suspects may be tried for themselves: PostHog accepts others, by the circuit breaker or by the latest attempt.
    pub fn may_try_suspects(&self) -> bool {
        self.accepts(&lock(&self.state))
    }

    fn accepts(&self, state: &Dispatch) -> bool {
        self.is_closed() || state.evidence.is_accepting(Instant::now())
    }

    /// Whether a suspect may be a live attempt: where suspects are not tried for themselves, one of them serves if there is
    /// nothing else. Else its failure would keep the breaker open for the others.
    fn may_stand_for_all(&self, state: &Dispatch) -> bool {
        let has_others = || !state.apart.is_empty() || self.queue.look(State::has_waiting);
        let is_alone = || state.suspects.are_too_many(&self.limits) || !has_others();
        !self.accepts(state) && state.live.others == 0 && is_alone()
    }

    /// Whether a live attempt that is about to begin carries a suspect, though there is something else by now.
    pub fn gives_way(&self, part: &Part, lane: Lane) -> bool {
        let (Lane::Live, Some(record)) = (lane, &part.record) else { return false };
        let state = lock(&self.state);
        record.is_suspect(&state.evidence, Instant::now()) && !self.may_stand_for_all(&state)
    }

    /// A batch that was refused often enough is not sent again as it is. When there are no other events, its halves are the
    /// others, so one refusal is enough, and three failures. Of parts that are parked, one event goes alone, any of them:
    /// whatever share is bad, that tells soonest whether PostHog accepts again.
    fn next_suspect(&self, state: &mut Dispatch, is_suspect: bool, now: Instant) -> Option<Part> {
        let Part { events, record } = state.suspects.pop(now, is_suspect, &state.evidence)?;
        let is_parked = !is_suspect && state.suspects.is_parked();
        match record {
            Some(record)
                if events.len() > 1
                    && (is_parked || record.must_be_searched(is_suspect, state.is_closing)) =>
            {
                if is_suspect {
                    self.forgive(state, &record);
                }
                let first = match is_parked {
                    true => {
                        let chosen = fastrand::usize(..events.len());
                        chosen..chosen + 1
                    }
                    false => 0..events.len() / 2,
                };
                let (events, others) = self.queue.split(events, first);
                let part = record.of_half(now);
                let rest = if is_parked { part.clone().after_others(now) } else { part.clone() };
                state.suspects.push(others, rest);
                Some(Part { events, record: Some(part) })
            }
            record => Some(Part { events, record }),
        }
    }

    /// When the next part is due that only time keeps.
    pub fn due(&self, lane: Lane) -> Option<Instant> {
        let (state, now) = (lock(&self.state), Instant::now());
        let due = |is_suspect| state.suspects.due(now, is_suspect, &state.evidence);
        let rested = state.rests_until.filter(|until| *until > now);
        match lane {
            Lane::Suspect => due(true),
            Lane::Live if state.live.undecided => rested,
            Lane::Live => {
                let undecided =
                    due(false).into_iter().chain(due(true).filter(|_| self.may_stand_for_all(&state)));
                undecided.chain(rested).min()
            }
        }
    }

    /// Whether the circuit breaker is closed.
    pub fn is_closed(&self) -> bool {
        *self.breaker.borrow() == CircuitState::Closed
    }

    /// Until when delivery pauses.
    pub fn paused_until(&self) -> Option<Instant> {
        lock(&self.state).pauses.until()
    }
}

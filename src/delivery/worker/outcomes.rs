//! Ends attempts, each by its [`Outcome`].

use std::sync::MutexGuard;
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::Request;
use super::dispatcher::{Dispatch, Dispatcher, Lane};
use super::suspects::{Decision, FIRST_RETRY, Part, Record, Suspects};
use crate::api::{Accepted, Outcome};
use crate::delivery::ledger::Account;
use crate::delivery::queue::QueuedEvent;
use crate::delivery::{DeadLetter, DropReason};
use crate::error::{Fate, Suspicion};
use crate::rt::{foreign, lock, target};
use crate::{Error, ErrorKind};

impl Dispatcher {
    /// An attempt ended.
    pub fn ended(&self, part: Part, lane: Lane, request: Request, result: Result<&Accepted, &Error>) {
        let mut state = self.landed(&part, lane);
        let error = match (Outcome::of(result), result) {
            (Outcome::Discarded, _) => {
                self.queue.settle(&part.events, Account::Dropped(DropReason::OverQuota));
                state.suspects.accepted();
                return self.refuse(
                    &mut state,
                    ErrorKind::QuotaExceeded,
                    "PostHog discards events, over the billing quota: pausing",
                );
            }
            (_, Ok(_)) => {
                self.queue.settle(&part.events, Account::Delivered);
                return self.accepted(&mut state, &part, lane, request.began);
            }
            (_, Err(error)) => error,
        };
        match error.kind().meaning().suspicion {
            Some(suspicion) => self.failed(&mut state, part, lane, suspicion, error),
            None => {
                let outcome = Outcome::of(result);
                // A refused token, the quota and a 429 say nothing about whether PostHog works.
                if lane == Lane::Live && matches!(outcome, Outcome::Retry { .. }) {
                    state.evidence.failed(Instant::now(), part.batch(), error.kind());
                }
                self.keep(&mut state, part);
                // An answer about a token that is in use no more says nothing, and a new token is tried at once.
                let is_stale = error.kind().is_about_the_token() && request.token != self.token();
                if !is_stale {
                    state.rests_until = Some(Instant::now() + FIRST_RETRY);
                }
                if outcome == Outcome::Stop && !is_stale {
                    self.refuse(
                        &mut state,
                        error.kind(),
                        &format!("delivery to PostHog pauses, events are kept: {error}"),
                    );
                }
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The state, after the end of an attempt with this part.
    fn landed(&self, part: &Part, lane: Lane) -> MutexGuard<'_, Dispatch> {
        let mut state = lock(&self.state);
        if lane == Lane::Live {
            state.live.end(part);
        }
        state
    }

    /// An attempt did not begin.
    pub fn abandoned(&self, part: Part, lane: Lane) {
        let mut state = self.landed(&part, lane);
        self.keep(&mut state, part);
        drop(state);
        self.changed.notify_one();
    }

    /// Keeps a batch of which nothing became, where it was.
    fn keep(&self, state: &mut Dispatch, part: Part) {
        match part.record {
            Some(record) => state.suspects.push(part.events, record.after_nothing(Instant::now())),
            None => self.queue.give_back(&part.events),
        }
    }

    /// PostHog accepted events, so delivery resumes, unless a probe has found that PostHog throws them away.
    fn accepted(&self, state: &mut Dispatch, part: &Part, lane: Lane, began: Instant) {
        let now = Instant::now();
        if state.evidence.is_outage() {
            let undecided = state.suspects.take_undecided(now, &state.evidence);
            undecided.iter().for_each(|events| self.queue.give_back_failed(events));
        }
        state.evidence.accepted(began, now, lane == Lane::Suspect);
        state.suspects.accepted();
        state.batch_size.accepted(bytes(&part.events));
        self.recover(state);
        if lane == Lane::Suspect {
            self.forgiven.set_waiting(state.suspects.confirmed() as u64);
        }
        if !state.suspects.is_empty() {
            self.changed.notify_one();
        }
    }

    fn recover(&self, state: &mut Dispatch) {
        if self.token_is_refused() {
            state.pauses.rest(Instant::now());
        } else if state.pauses.recover() {
            foreign::log(|| tracing::info!(target: target::DELIVERY, "delivery resumed"));
        }
    }

    /// A batch failed, and one of its events may be the cause, so the batch steps aside.
    fn failed(&self, state: &mut Dispatch, part: Part, lane: Lane, suspicion: Suspicion, error: &Error) {
        let (Part { mut events, record }, now) = (part, Instant::now());
        if error.kind() == ErrorKind::TooLarge && record.is_none() && self.shrinks(state, &events) {
            return;
        }
        let mut record = record.unwrap_or_else(|| {
            self.queue.detach(&mut events);
            Record::new(&events, now)
        });
        if events.len() > 1 {
            state.evidence.failed_together(now, record.case());
        }
        // First, so that what a suspect is forgiven does not count against the others.
        self.count(state, &record, lane, error, now);
        record.turns_to(suspicion, now);
        let world = record.world(&state.evidence, now);
        record.failed(&events, suspicion, error, world, fastrand::f64());
        if events.len() == 1 && error.kind() == ErrorKind::BadRequest {
            state.evidence.rejected(now);
        }
        if state.is_closing {
            record.hurry(now);
        }
        let is_hopeless =
            suspicion == Suspicion::Refusal && !world.accepts_others && state.suspects.rejected();
        match record.decide(events.len(), suspicion, error, world) {
            Decision::DeadLetter => {
                self.forgive(state, &record);
                events.iter().for_each(|event| self.dead_letter(state, event.dead_letter(error)));
            }
            Decision::Search => {
                self.log_search(state, error, now);
                let next = Suspects::pace(suspicion, world);
                state.suspects.push_halves(self.queue.halve(events), &record, next);
            }
            Decision::Rejoin => {
                state.rests_until = Some(now + FIRST_RETRY);
                self.queue.give_back_failed(&events);
                state.suspects.take_case(&record).for_each(|part| self.queue.give_back_failed(&part));
            }
            Decision::Wait => state.suspects.push(events, record),
        }
        if is_hopeless {
            self.park(state, error, now, world.is_hopeless);
        }
        self.forgiven.set_waiting(state.suspects.confirmed() as u64);
    }

    /// Counts a failure where it says something about PostHog. What was counted of a suspect is forgiven once it fails
    /// while others are accepted.
    fn count(&self, state: &mut Dispatch, record: &Record, lane: Lane, error: &Error, now: Instant) {
        if lane == Lane::Suspect {
            return self.forgive(state, record);
        }
        let others_are_accepted = state.evidence.is_accepting(now);
        state.evidence.failed(now, record.case(), error.kind());
        // The attempts of a search are many, and say no more about PostHog than the failures that began it.
        if record.is_part() {
            self.forgiven.add(error.kind());
        } else {
            record.count(error.kind());
        }
        // The first refusal after an acceptance may be an event's: the next attempt tells.
        if error.kind().meaning().fate == Fate::Stop && !others_are_accepted {
            self.refuse(
                state,
                error.kind(),
                &format!("delivery to PostHog pauses, events are kept: {error}"),
            );
        }
    }

    /// Failures that were counted turn out to be the fault of an event.
    pub fn forgive(&self, state: &mut Dispatch, record: &Record) {
        state.evidence.forgive(record.case());
        record.take_counted().into_iter().for_each(|kind| self.forgiven.add(kind));
    }

    /// Sends smaller batches, if this one may be too large.
    fn shrinks(&self, state: &mut Dispatch, events: &[QueuedEvent]) -> bool {
        let bytes = bytes(events);
        if events.len() == 1 || !state.batch_size.may_be_too_large(bytes) {
            return false;
        }
        if state.batch_size.shrink(bytes) {
            foreign::log(|| tracing::info!(target: target::DELIVERY, "PostHog takes only smaller batches"));
        }
        self.queue.give_back(events);
        true
    }

    fn dead_letter(&self, state: &mut Dispatch, letter: DeadLetter) {
        let error = letter.error();
        let evicted = self.queue.dead_letter(letter);
        let now = Instant::now().into_std();
        if state.episodes.dead_lettering.begins(now) {
            foreign::log(
                || tracing::warn!(target: target::DELIVERY, "events are set aside as dead letters: {error}"),
            );
        }
        if evicted > 0 && state.episodes.evicting.begins(now) {
            foreign::log(
                || tracing::warn!(target: target::DELIVERY, "too many dead letters: the oldest are dropped"),
            );
        }
    }

    fn log_search(&self, state: &mut Dispatch, error: &Error, now: Instant) {
        if state.episodes.searching.begins(now.into_std()) {
            foreign::log(|| {
                tracing::info!(
                    target: target::DELIVERY,
                    "a batch fails while others are accepted: searching it for the event that causes it: {error}"
                )
            });
        }
    }

    fn park(&self, state: &mut Dispatch, error: &Error, now: Instant, is_hopeless: bool) {
        let pause = self.pacing.refusal_pause;
        state.suspects.park(now, if is_hopeless { pause.min(HOPELESS_PAUSE) } else { pause });
        if state.episodes.parking.begins(now.into_std()) {
            foreign::log(|| {
                tracing::warn!(
                    target: target::DELIVERY,
                    "PostHog rejects event after event: they are kept, and few are tried: {error}"
                )
            });
        }
    }

    /// Pauses after an answer that only a person can change.
    fn refuse(&self, state: &mut Dispatch, kind: ErrorKind, what: &str) {
        if kind.is_about_the_token() {
            self.credentials.renew();
        }
        // While batches shrink, the next attempt is another one.
        let grows = kind.meaning().suspicion.is_none() || !state.evidence.is_shrinking();
        if state.pauses.refuse(Instant::now(), kind, grows) {
            foreign::log(|| tracing::warn!(target: target::DELIVERY, "{what}"));
        }
    }

    /// All attempts of a slot failed. Delivery rests, for longer each time.
    pub fn set_back(&self) {
        lock(&self.state).pauses.set_back(Instant::now(), fastrand::f64());
    }

    /// A new token resumes delivery, because PostHog refused the old one.
    pub fn on_new_token(&self) {
        let mut state = lock(&self.state);
        state.rests_until = None;
        if state.pauses.refused().is_some_and(ErrorKind::is_about_the_token) {
            self.recover(&mut state);
        }
    }

    pub fn on_probe_verdict(&self) {
        let (mut state, refused) = (lock(&self.state), self.token_is_refused());
        // Without a token, nothing is sent anyway.
        if refused && self.token().is_some() {
            self.refuse(
                &mut state,
                ErrorKind::Unauthorized,
                "a probe found the project token refused: delivery pauses, events are kept",
            );
            state.pauses.rest(Instant::now());
        } else if !refused && state.pauses.refused() == Some(ErrorKind::Unauthorized) {
            self.recover(&mut state);
        }
    }

    /// The queue is closed. A pause of our own must not use up the deadline of the shutdown.
    pub fn on_closing(&self) {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.is_closing, true) {
            return;
        }
        if state.pauses.refused().is_some() {
            state.pauses.end();
        }
        state.pauses.hurry();
        state.suspects.hurry(Instant::now());
    }
}

/// How often single events are tried once they have been rejected for so long that they become dead letters.
const HOPELESS_PAUSE: Duration = Duration::from_secs(5);

fn bytes(events: &[QueuedEvent]) -> usize {
    events.iter().map(|event| event.json.len()).sum()
}

//! Ends attempts, each by its [`Outcome`].

use std::borrow::Cow;
use std::sync::MutexGuard;
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::Request;
use super::dispatcher::{Dispatch, Dispatcher, Lane};
use super::suspects::{Decision, FIRST_RETRY, Part, Record, Suspects};
use crate::api::{CaptureWarning, EventVerdict, Outcome, Receipt};
use crate::delivery::DropReason;
use crate::delivery::admit::is_placeholder;
use crate::delivery::ledger::Account;
use crate::delivery::queue::{EventEnd, QueuedEvent};
use crate::error::{Fate, Suspicion};
use crate::rt::{foreign, lock, target};
use crate::{Error, ErrorKind};

impl Dispatcher {
    /// An attempt ended.
    pub fn ended(&self, mut part: Part, lane: Lane, request: Request, result: Result<&Receipt, &Error>) {
        let mut state = self.landed(&part, lane);
        part.record.iter_mut().for_each(|record| record.sent(request.id));
        let verdicts = result.ok().and_then(|receipt| receipt.verdicts.as_deref());
        verdicts.iter().for_each(|verdicts| self.verdicts.add(part.events.len(), verdicts));
        let outcome = Outcome::of(result.map(|receipt| &receipt.accepted));
        let error = match (outcome, result) {
            (Outcome::Discarded, _) => {
                self.queue.settle(&part.events, Account::Dropped(DropReason::OverQuota));
                state.suspects.accepted();
                return self.refuse(
                    &mut state,
                    ErrorKind::QuotaExceeded,
                    "PostHog discards events, over the billing quota: pausing",
                );
            }
            (_, Ok(receipt)) => {
                if stores_any(part.events.len(), verdicts) {
                    self.accepted(&mut state, &part, lane, request.began);
                } else {
                    // It works, and may accept none.
                    self.recover(&mut state);
                }
                return match verdicts {
                    None | Some([]) => self.queue.settle(&part.events, Account::Delivered),
                    Some(verdicts) => self.judged(&mut state, part, &request, verdicts, receipt.retry_after),
                };
            }
            (_, Err(error)) => error,
        };
        match error.kind().meaning().suspicion {
            Some(suspicion) => self.failed(&mut state, part, lane, &request, suspicion, error),
            None => {
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
    fn failed(
        &self,
        state: &mut Dispatch,
        part: Part,
        lane: Lane,
        request: &Request,
        suspicion: Suspicion,
        error: &Error,
    ) {
        let (Part { mut events, record }, now) = (part, Instant::now());
        if error.kind() == ErrorKind::TooLarge && record.is_none() && self.shrinks(state, &events) {
            return;
        }
        let record = record.unwrap_or_else(|| self.step_aside(&mut events, request, now));
        if events.len() > 1 {
            state.evidence.failed_together(now, record.case());
        }
        // First, so that what a suspect is forgiven does not count against the others.
        self.count(state, &record, lane, error, now);
        if events.len() == 1 && error.kind() == ErrorKind::BadRequest {
            state.evidence.rejected(now);
        }
        self.decide(state, events, record, suspicion, error, now);
    }

    /// Begins the record of a batch that stays in flight for long.
    fn step_aside(&self, events: &mut [QueuedEvent], request: &Request, now: Instant) -> Record {
        self.queue.detach(events);
        let mut record = Record::new(events, now);
        record.sent(request.id);
        record
    }

    /// Decides about events that failed.
    fn decide(
        &self,
        state: &mut Dispatch,
        events: Vec<QueuedEvent>,
        mut record: Record,
        suspicion: Suspicion,
        error: &Error,
        now: Instant,
    ) {
        record.turns_to(suspicion, now);
        if suspicion == Suspicion::Failure {
            state.suspects.failed(now);
        }
        let world = record.world(&state.evidence, now);
        record.failed(&events, suspicion, error, world, fastrand::f64());
        if state.is_closing {
            record.hurry(now);
        }
        let is_hopeless =
            suspicion == Suspicion::Refusal && !world.accepts_others && state.suspects.rejected();
        match record.decide(events.len(), suspicion, error, world) {
            Decision::DeadLetter => {
                self.forgive(state, &record);
                for event in &events {
                    let evicted = self.queue.dead_letter(event.dead_letter(error));
                    self.log_dead_letters(state, error, None, evicted);
                }
            }
            Decision::Search => {
                self.log_search(state, error, now);
                let next = Suspects::pace(suspicion, world);
                let middle = events.len() / 2;
                state.suspects.push_halves(self.queue.split(events, 0..middle), &record, next);
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

    /// PostHog took a batch and has a verdict on each of its events.
    fn judged(
        &self,
        state: &mut Dispatch,
        part: Part,
        request: &Request,
        verdicts: &[(usize, EventVerdict)],
        retry_after: Option<Duration>,
    ) {
        let (Part { events, record }, now) = (part, Instant::now());
        let mut ends: Vec<_> = events.iter().map(|_| EventEnd::Settled(Account::Delivered)).collect();
        let mut dropped = None;
        for (at, verdict) in verdicts {
            let (Some(event), Some(end)) = (events.get(*at), ends.get_mut(*at)) else { continue };
            match verdict {
                EventVerdict::Warning(warning) => self.warned(state, event, *warning, now),
                EventVerdict::Missing if event.unanswered => {
                    self.warned(state, event, CaptureWarning::NoVerdict, now);
                }
                EventVerdict::Missing => *end = EventEnd::Again { unanswered: true },
                EventVerdict::Retry => *end = EventEnd::Again { unanswered: event.unanswered },
                EventVerdict::OverQuota => *end = EventEnd::Settled(Account::Dropped(DropReason::OverQuota)),
                EventVerdict::Dropped(detail) => {
                    let error = drop_error(detail);
                    *end = EventEnd::DeadLetter(event.dead_letter(&error));
                    dropped.get_or_insert((error, detail));
                }
            }
        }
        let (mut again, evicted) = self.queue.settle_each(events, ends);
        if let Some((error, detail)) = dropped {
            self.log_dead_letters(state, &error, Some(detail), evicted);
        }
        if again.is_empty() {
            return;
        }
        let record = record.unwrap_or_else(|| self.step_aside(&mut again, request, now));
        let error = Error::new(ErrorKind::Server).with_status(200).with_retry_after(retry_after);
        self.decide(state, again, record, Suspicion::Failure, &error, now);
        self.changed.notify_one();
    }

    /// An event is delivered with a warning.
    fn warned(&self, state: &mut Dispatch, event: &QueuedEvent, warning: CaptureWarning, now: Instant) {
        self.verdicts.warn(warning, now);
        if !state.episodes.warned[warning as usize].begins(now.into_std()) {
            return;
        }
        let id_kind = (warning == CaptureWarning::PersonProcessingDisabled)
            .then(|| if has_placeholder(&event.json) { "placeholder" } else { "ordinary" });
        let warning = warning.as_str();
        foreign::log(|| {
            tracing::warn!(target: target::DELIVERY, warning, id_kind, "PostHog took an event with a warning");
        });
    }

    fn log_dead_letters(&self, state: &mut Dispatch, error: &Error, detail: Option<&str>, evicted: usize) {
        let now = Instant::now().into_std();
        if state.episodes.dead_lettering.begins(now) {
            // PostHog's own details are words. Anything else may repeat the event.
            let detail = detail.filter(|detail| detail.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            foreign::log(|| {
                tracing::warn!(target: target::DELIVERY, detail, "events are set aside as dead letters: {error}");
            });
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

/// Whether PostHog stored any event of so many with these verdicts.
fn stores_any(events: usize, verdicts: Option<&[(usize, EventVerdict)]>) -> bool {
    let stores = |(_, verdict): &(usize, EventVerdict)| {
        matches!(verdict, EventVerdict::Warning(_) | EventVerdict::Missing)
    };
    verdicts.is_none_or(|verdicts| verdicts.len() < events || verdicts.iter().any(stores))
}

/// Why PostHog dropped an event that it was sent.
fn drop_error(detail: &str) -> Error {
    let kind = match detail {
        "event_too_big" | "ai_event_too_big" => ErrorKind::TooLarge,
        _ => ErrorKind::BadRequest,
    };
    Error::new(kind).with_status(200).with_answer(Some(detail.to_owned()))
}

/// Whether the distinct id of an encoded event stands for nobody.
fn has_placeholder(event: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        distinct_id: Cow<'a, str>,
    }
    serde_json::from_slice(event).is_ok_and(|Event { distinct_id }| is_placeholder(&distinct_id))
}

fn bytes(events: &[QueuedEvent]) -> usize {
    events.iter().map(|event| event.json.len()).sum()
}

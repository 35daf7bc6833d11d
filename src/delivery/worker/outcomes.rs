//! What the worker does about each [`Outcome`].

use tokio::task::{Id, JoinError};
use tokio::time::Instant;

use super::Worker;
use super::bisect::{Case, Part};
use crate::api::{Accepted, Outcome};
use crate::delivery::DropReason;
use crate::delivery::ledger::Account;
use crate::delivery::queue::QueuedEvent;
use crate::rt::target;
use crate::{Error, ErrorKind};

impl<S> Worker<S> {
    pub fn finish(&mut self, done: Result<(Id, Result<Accepted, Error>), JoinError>) {
        let (id, result) = match done {
            Ok((id, result)) => (id, result),
            Err(lost) => (lost.id(), Err(Error::new(ErrorKind::ConnectionLost).with_source(lost))),
        };
        let Some((Part { events: batch, case }, token)) = self.sent.remove(&id) else { return };
        match (Outcome::of(result.as_ref()), result) {
            (Outcome::Discarded, _) => {
                self.queue.settle(&batch, Account::Dropped(DropReason::OverQuota));
                self.refuse(
                    ErrorKind::QuotaExceeded,
                    "PostHog discards events, over the billing quota: pausing",
                );
            }
            (_, Ok(_)) => {
                self.queue.settle(&batch, Account::Delivered);
                self.recover(case);
            }
            (Outcome::Split, Err(error)) => self.split(batch, case, &error),
            // About a token that is in use no more.
            (Outcome::Stop, Err(error))
                if error.kind().is_about_the_token() && token != *self.token.borrow() =>
            {
                self.queue.give_back(&batch);
            }
            (Outcome::Stop, Err(error)) => {
                self.queue.give_back(&batch);
                self.refuse(error.kind(), &format!("delivery to PostHog pauses, events are kept: {error}"));
            }
            // The rate limiter pauses already.
            (Outcome::SlowDown { .. }, Err(_)) => self.queue.give_back(&batch),
            (_, Err(_)) => self.set_back(batch),
        }
        if !self.suspect_is_under_way() {
            self.suspects.rest(self.pacing.refusal_pause);
        }
    }

    pub fn suspect_is_under_way(&self) -> bool {
        self.sent.values().any(|(part, _)| part.case.is_some())
    }

    /// Something in the batch will not be taken as it is.
    fn split(&mut self, batch: Vec<QueuedEvent>, case: Option<Case>, error: &Error) {
        match (error.kind(), batch.as_slice()) {
            (ErrorKind::TooLarge, [event]) if !self.is_too_large(event, error) => self.set_back(batch),
            (ErrorKind::TooLarge, [event]) => self.set_aside(event, error),
            (ErrorKind::TooLarge, _) => self.shrink(batch, error),
            _ => self.isolate(batch, case, error),
        }
    }

    /// Looks for the poisoned events of a rejected batch by halving it.
    fn isolate(&mut self, batch: Vec<QueuedEvent>, case: Option<Case>, error: &Error) {
        let (is_new, is_lone) = (case.is_none(), batch.len() == 1);
        let case = case.unwrap_or_else(|| if is_lone { self.lone.clone() } else { Case::default() });
        if case.rejected() || (is_new && self.suspects.are_parked()) {
            self.suspects.park(batch, &case, self.pacing.refusal_pause);
            if self.parking.begins(now()) {
                tracing::warn!(
                    target: target::DELIVERY,
                    "PostHog rejects event after event: parked, the dead letters say why: {error}"
                );
            }
        } else if let [poison] = batch.as_slice() {
            self.set_aside(poison, error);
        } else {
            let (first, second) = self.queue.halve(batch);
            self.suspects.push(second, case.clone());
            self.suspects.push(first, case);
        }
    }

    fn set_aside(&mut self, event: &QueuedEvent, error: &Error) {
        let evicted = self.queue.dead_letter(event, error);
        if self.setting_aside.begins(now()) {
            tracing::warn!(target: target::DELIVERY, "events are set aside as dead letters: {error}");
        }
        if evicted > 0 && self.evicting.begins(now()) {
            tracing::warn!(target: target::DELIVERY, "too many dead letters: the oldest are dropped");
        }
    }

    /// Sends the events again in smaller batches, unless no PostHog takes so little: then it is something
    /// else that answers.
    fn shrink(&mut self, batch: Vec<QueuedEvent>, error: &Error) {
        let bytes: usize = batch.iter().map(|event| event.json.len()).sum();
        self.queue.give_back(&batch);
        if bytes <= SMALLEST_LIMIT {
            return self.refuse(
                ErrorKind::TooLarge,
                &format!("PostHog rejects even small batches: delivery pauses, events are kept: {error}"),
            );
        }
        if self.batch_bytes == self.limits.batch_bytes {
            tracing::info!(target: target::DELIVERY, "PostHog takes only smaller batches");
        }
        self.batch_bytes = self.batch_bytes.min(bytes).div_ceil(2).max(SMALLEST_LIMIT);
    }

    /// Whether to believe that this event alone is too large: when PostHog said so of a large one, or hung up
    /// on it again and again.
    fn is_too_large(&mut self, event: &QueuedEvent, error: &Error) -> bool {
        if error.status().is_some() {
            return event.json.len() > SMALLEST_LIMIT;
        }
        let hang_ups = if self.hung_up_on.0 == event.seq { self.hung_up_on.1 + 1 } else { 1 };
        self.hung_up_on = (event.seq, hang_ups);
        hang_ups >= 3
    }

    /// Tries again after a pause that grows.
    fn set_back(&mut self, batch: Vec<QueuedEvent>) {
        self.queue.give_back_failed(&batch);
        self.pauses.set_back(Instant::now(), fastrand::f64());
    }

    /// Pauses after an answer that only a person can change.
    fn refuse(&mut self, kind: ErrorKind, what: &str) {
        if kind.is_about_the_token() {
            self.credentials.renew();
        }
        if self.pauses.refuse(Instant::now(), kind) {
            tracing::warn!(target: target::DELIVERY, "{what}");
        }
    }

    /// What was refused was the old one.
    pub fn on_new_token(&mut self) {
        self.token.mark_unchanged();
        if self.pauses.refused().is_some_and(ErrorKind::is_about_the_token) {
            self.recover(None);
        }
    }

    pub fn on_probe_verdict(&mut self) {
        let refused = *self.token_refused.borrow_and_update();
        // Without one, nothing is sent anyway.
        if refused && self.token.borrow().is_some() {
            self.refuse(
                ErrorKind::Unauthorized,
                "a probe found the project token refused: delivery pauses, events are kept",
            );
            self.pauses.rest(Instant::now());
        } else if !refused && self.pauses.refused() == Some(ErrorKind::Unauthorized) {
            self.recover(None);
        }
    }

    /// PostHog took events: whatever paused delivery is over, unless a probe knows that it throws them away.
    fn recover(&mut self, case: Option<Case>) {
        if *self.token_refused.borrow() {
            return self.pauses.rest(Instant::now());
        }
        self.lone.accepted();
        if let Some(case) = case {
            case.accepted();
            self.suspects.unpark();
        }
        self.batch_bytes = (self.batch_bytes + self.batch_bytes / 64).min(self.limits.batch_bytes);
        if self.pauses.recover() {
            tracing::info!(target: target::DELIVERY, "delivery resumed");
        }
    }
}

/// For episodes.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// No PostHog and no proxy before one takes less than this.
const SMALLEST_LIMIT: usize = 16 * 1024;

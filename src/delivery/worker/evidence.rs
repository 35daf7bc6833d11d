use std::time::Duration;

use tokio::time::Instant;

use crate::ErrorKind;
use crate::rt::ring::Ring;

/// Evidence of the latest attempts about whether PostHog accepts other events than the failed ones.
///
/// Attempts of suspects prove that PostHog accepts something. Their failures prove nothing about PostHog and are not
/// counted.
#[derive(Debug)]
pub struct Evidence {
    counts: Ring<Counts>,
    accepted: Option<Acceptance>,
    /// The failures that were not a suspect's.
    failed: Latest,
    /// The failures of several events at once, those of suspects too.
    failed_together: Latest,
    /// Since when single events are rejected as malformed and nothing else happens.
    rejecting_since: Option<Instant>,
    /// Live failures since the latest live acceptance.
    failures_in_a_row: u32,
    /// Live acceptances since batches were halved last.
    acceptances_in_a_row: u32,
    /// How often batches are halved.
    halvings: u32,
}

/// When something happened last, and to which batch.
#[derive(Debug, Default)]
struct Latest {
    last: Option<(Instant, u64)>,
    /// The latest one before it of another batch.
    another: Option<Instant>,
}

impl Latest {
    fn note(&mut self, now: Instant, batch: u64) {
        if let Some((at, another)) = self.last.replace((now, batch))
            && another != batch
        {
            self.another = Some(at);
        }
    }

    fn of_another(&self, batch: u64) -> Option<Instant> {
        let last = self.last.filter(|(_, last)| *last != batch).map(|(at, _)| at);
        last.max(self.another)
    }
}

/// The latest acceptance.
#[derive(Clone, Copy, Debug)]
struct Acceptance {
    /// The latest beginning of an accepted attempt.
    began: Instant,
    at: Instant,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: u32,
    /// Failures that say nothing about the batch.
    failed: u32,
    /// Failures of which the batch may be the cause, by batch.
    suspicious: Vec<u64>,
}

/// Acceptances and failures further apart say nothing about each other.
const MINUTE: Duration = Duration::from_secs(60);

/// A default batch, halved so often, is a single event.
const MOST_HALVINGS: u32 = 7;
/// More failures in a row than it takes to come down to single events are an outage.
const OUTAGE: u32 = 12;
/// Then one in five attempts fails where every larger batch holds a bad event. The circuit breaker opens at one in two.
const ACCEPTANCES_TO_GROW: u32 = 4;

/// Fewer attempts of others than this say nothing about their failure rate.
const FEWEST_OTHERS: usize = 5;

/// For how long PostHog must have rejected single events, and accepted none, before they become dead letters without the
/// proof that others are accepted. A deployment that breaks PostHog's capture endpoint is rolled back sooner.
const HOPELESS_AFTER: Duration = Duration::from_secs(600);

impl Evidence {
    pub fn new(now: Instant) -> Self {
        Self {
            counts: Ring::new(now, Duration::from_secs(1), MINUTE),
            accepted: None,
            failed: Latest::default(),
            failed_together: Latest::default(),
            rejecting_since: None,
            failures_in_a_row: 0,
            acceptances_in_a_row: 0,
            halvings: 0,
        }
    }

    /// An attempt that began then was accepted.
    pub fn accepted(&mut self, began: Instant, now: Instant, is_suspect: bool) {
        let began = self.accepted.map_or(began, |accepted| accepted.began.max(began));
        self.accepted = Some(Acceptance { began, at: now });
        self.rejecting_since = None;
        if !is_suspect {
            self.grow();
            self.counts.current(now).accepted += 1;
        }
    }

    /// An attempt with this batch failed that was not a suspect's.
    pub fn failed(&mut self, now: Instant, batch: u64, kind: ErrorKind) {
        // The first of a row may be any, and what never left has nothing to do with the size.
        let shrinks = self.failures_in_a_row > 0 && kind.meaning().suspicion.is_some();
        self.halvings = (self.halvings + u32::from(shrinks)).min(MOST_HALVINGS);
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.acceptances_in_a_row = 0;
        if kind != ErrorKind::BadRequest {
            self.rejecting_since = None;
        }
        self.failed.note(now, batch);
        let counts = self.counts.current(now);
        match kind.meaning().suspicion {
            Some(_) => counts.suspicious.push(batch),
            None => counts.failed += 1,
        }
    }

    /// An attempt with several events of this batch failed, suspects or not.
    pub fn failed_together(&mut self, now: Instant, batch: u64) {
        self.failed_together.note(now, batch);
    }

    /// The failures of this batch turn out to be its own fault.
    pub fn forgive(&mut self, batch: u64) {
        self.counts.iter_mut().for_each(|counts| counts.suspicious.retain(|failed| *failed != batch));
    }

    /// PostHog rejected a single event as malformed.
    pub fn rejected(&mut self, now: Instant) {
        self.rejecting_since.get_or_insert(now);
    }

    /// Whether PostHog has rejected single events and accepted none for so long that the events must be to blame.
    pub fn is_hopeless(&self, now: Instant) -> bool {
        self.rejecting_since.is_some_and(|since| now.saturating_duration_since(since) >= HOPELESS_AFTER)
    }

    /// Whether PostHog has accepted events that were sent after this batch failed at `since`, and is not known to have
    /// failed others since: it accepts others at about the time at which it refuses these.
    pub fn accepts_others(&self, batch: u64, since: Instant, now: Instant) -> bool {
        self.accepted.is_some_and(|Acceptance { began, at }| {
            let is_recent = now.saturating_duration_since(at) <= MINUTE;
            began > since && (is_recent || !self.others_failed(batch, at))
        })
    }

    /// Whether PostHog still accepts others after this batch failed at `then`. It does if it accepted events that were sent
    /// later, or if no attempt with several other events has failed since its latest acceptance. A single event that failed
    /// may be bad, so it is no evidence.
    pub fn still_accepts(&self, batch: u64, then: Instant) -> bool {
        self.accepted.is_some_and(|Acceptance { began, at }| {
            began > then || self.failed_together.of_another(batch).is_none_or(|failed| failed < at)
        })
    }

    /// How many events of a full batch an attempt is to carry. While live attempts fail in a row, each carries half as many
    /// as the one before: if each full batch holds a bad event, none would ever be accepted.
    pub fn batch_events(&self, full: usize) -> usize {
        (full >> self.halvings).max(1)
    }

    /// Whether batches can shrink further.
    pub fn is_shrinking(&self) -> bool {
        self.halvings < MOST_HALVINGS
    }

    /// Whether nothing was accepted lately, although much was tried.
    pub fn is_outage(&self) -> bool {
        self.failures_in_a_row >= OUTAGE
    }

    /// After an outage batches are full at once. Where some are accepted and others not, they grow slowly, so that few fail.
    fn grow(&mut self) {
        let was_outage = self.is_outage();
        self.failures_in_a_row = 0;
        self.acceptances_in_a_row += 1;
        if was_outage {
            self.halvings = 0;
        } else if self.acceptances_in_a_row >= ACCEPTANCES_TO_GROW {
            self.acceptances_in_a_row = 0;
            self.halvings = self.halvings.saturating_sub(1);
        }
    }

    /// Whether the latest attempt was accepted, within a minute.
    pub fn is_accepting(&self, now: Instant) -> bool {
        self.accepted.is_some_and(|Acceptance { at, .. }| {
            now.saturating_duration_since(at) <= MINUTE
                && self.failed.last.is_none_or(|(failed, _)| failed < at)
        })
    }

    fn others_failed(&self, batch: u64, since: Instant) -> bool {
        self.failed.of_another(batch).is_some_and(|at| at >= since)
    }

    /// Whether nine in ten attempts of the last minute with other batches succeeded. `None` if they were too few to tell.
    pub fn mostly_accepts(&self, batch: u64, now: Instant) -> Option<bool> {
        let (mut accepted, mut failed) = (0, 0);
        for counts in self.counts.within(now, MINUTE) {
            accepted += counts.accepted as usize;
            let others = counts.suspicious.iter().filter(|failed| **failed != batch);
            failed += counts.failed as usize + others.count();
        }
        let all = accepted + failed;
        (all >= FEWEST_OTHERS).then_some(accepted * 10 >= all * 9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn others_are_accepted_if_an_attempt_that_began_later_was() {
        let start = Instant::now();
        let at = |seconds| start + SECOND * seconds;
        let mut evidence = Evidence::new(start);
        assert!(!evidence.accepts_others(1, start, at(1)));
        evidence.accepted(at(1), at(3), false);
        assert!(evidence.accepts_others(1, start, at(4)));
        assert!(!evidence.accepts_others(1, at(1), at(4)), "it was on its way when the other was refused");
        assert!(evidence.accepts_others(1, start, at(3_000)), "and nothing has failed since");
        evidence.failed(at(4), 1, ErrorKind::Server);
        assert!(evidence.accepts_others(1, start, at(3_000)), "but itself");
        evidence.failed(at(5), 2, ErrorKind::Server);
        evidence.failed(at(6), 1, ErrorKind::Server);
        assert!(evidence.accepts_others(1, start, at(63)) && !evidence.accepts_others(1, start, at(64)));
        evidence.accepted(at(70), at(70), true);
        assert!(evidence.accepts_others(1, at(64), at(71)), "a suspect that is accepted is proof, too");
    }

    #[test]
    fn nine_in_ten_of_five_or_more_others_within_a_minute_are_most() {
        let start = Instant::now();
        let mut evidence = Evidence::new(start);
        (0..4).for_each(|_| evidence.accepted(start, start, false));
        assert_eq!(evidence.mostly_accepts(1, start), None);
        evidence.failed(start, 9, ErrorKind::Server);
        assert_eq!(evidence.mostly_accepts(1, start), Some(false));
        assert_eq!(evidence.mostly_accepts(9, start), None, "its own failure says nothing about others");
        (0..5).for_each(|_| evidence.accepted(start, start, false));
        assert_eq!(evidence.mostly_accepts(1, start), Some(true));
        evidence.failed(start, 9, ErrorKind::Server);
        assert_eq!(evidence.mostly_accepts(1, start), Some(false));
        evidence.forgive(9);
        assert_eq!(evidence.mostly_accepts(1, start), Some(true), "they were the batch's fault");
        (0..2).for_each(|_| evidence.failed(start, 9, ErrorKind::Connect));
        evidence.forgive(9);
        assert_eq!(evidence.mostly_accepts(9, start), Some(false), "no batch is to blame for a connection");
        assert_eq!(evidence.mostly_accepts(1, start + SECOND * 62), None);
    }

    #[test]
    fn it_still_accepts_others_unless_several_events_of_another_batch_failed_since() {
        let start = Instant::now();
        let at = |seconds| start + SECOND * seconds;
        let mut evidence = Evidence::new(start);
        assert!(!evidence.still_accepts(1, start));
        evidence.accepted(at(1), at(2), false);
        assert!(evidence.still_accepts(1, at(3)), "no other has failed");
        evidence.failed(at(4), 2, ErrorKind::BadRequest);
        evidence.failed_together(at(4), 1);
        assert!(evidence.still_accepts(1, at(4)), "a single event, and its own batch");
        evidence.failed_together(at(5), 2);
        assert!(!evidence.still_accepts(1, at(4)) && evidence.still_accepts(1, start));
        evidence.accepted(at(6), at(7), true);
        assert!(evidence.still_accepts(1, at(8)));
    }

    #[test]
    fn batches_halve_while_live_attempts_fail_in_a_row_and_grow_back() {
        let start = Instant::now();
        let mut evidence = Evidence::new(start);
        let fail = |evidence: &mut Evidence| {
            evidence.failed(start, 1, ErrorKind::Server);
            evidence.batch_events(100)
        };
        let sizes: Vec<_> = (0..10).map(|_| fail(&mut evidence)).collect();
        assert_eq!(sizes, [100, 50, 25, 12, 6, 3, 1, 1, 1, 1]);
        (0..3).for_each(|_| evidence.accepted(start, start, false));
        assert_eq!(evidence.batch_events(100), 1);
        (0..5).for_each(|_| evidence.accepted(start, start, false));
        assert_eq!(evidence.batch_events(100), 3);
        (0..12).for_each(|_| evidence.failed(start, 1, ErrorKind::Server));
        evidence.accepted(start, start, false);
        assert_eq!(evidence.batch_events(100), 100, "the end of an outage");
    }

    #[test]
    fn ten_minutes_of_rejections_without_an_acceptance_are_hopeless() {
        let start = Instant::now();
        let mut evidence = Evidence::new(start);
        evidence.rejected(start);
        evidence.rejected(start + SECOND * 599);
        assert!(!evidence.is_hopeless(start + SECOND * 599));
        assert!(evidence.is_hopeless(start + SECOND * 600));
        evidence.failed(start + SECOND * 600, 1, ErrorKind::BadRequest);
        assert!(evidence.is_hopeless(start + SECOND * 600));
        evidence.failed(start + SECOND * 601, 1, ErrorKind::Server);
        assert!(!evidence.is_hopeless(start + SECOND * 9_000), "an outage, after all");
        evidence.rejected(start);
        evidence.accepted(start, start + SECOND * 601, false);
        assert!(!evidence.is_hopeless(start + SECOND * 9_000));
    }
}

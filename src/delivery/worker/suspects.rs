use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::evidence::Evidence;
use crate::api::BatchId;
use crate::delivery::queue::{Limits, QueuedEvent};
use crate::error::Suspicion;
use crate::rt::lock;
use crate::{Error, ErrorKind};

/// Events that travel in one request.
#[derive(Debug)]
pub struct Part {
    pub events: Vec<QueuedEvent>,
    /// `None` unless the batch, or one that it is a part of, failed before.
    pub record: Option<Record>,
}

impl Part {
    /// The batch that they came from.
    pub fn batch(&self) -> u64 {
        let first = self.events.first().map_or(0, |event| event.seq);
        self.record.as_ref().map_or(first, Record::case)
    }
}

/// The history of events that failed together.
#[derive(Clone, Debug)]
pub struct Record {
    /// The batch that they came from, by the place of its first event.
    case: u64,
    /// When that batch failed first, or was refused first after it had failed.
    since: Instant,
    /// When these events, or the part that was halved into them, failed last.
    last: Instant,
    /// Whether they failed while others were accepted.
    is_confirmed: bool,
    /// Whether they are a part of it.
    is_part: bool,
    /// How these events, or the part that was halved into them, failed last.
    suspicion: Option<Suspicion>,
    refusals: u32,
    failures: u32,
    /// Attempts in a row that came to nothing.
    nothings: u32,
    /// How often in a row a single event failed while most others were accepted, and since when.
    alone: (u32, Instant),
    /// Failures that breaker, alerts and [`Evidence`] have counted. The batch's parts share them.
    counted: Arc<Mutex<Vec<ErrorKind>>>,
    next: Instant,
    /// What the latest request with these very events was called.
    id: Option<BatchId>,
}

/// The circumstances of a failure, on which the decision depends.
#[derive(Clone, Copy, Debug)]
pub struct World {
    pub now: Instant,
    /// PostHog accepted events that were sent after the batch failed first.
    pub accepts_others: bool,
    /// PostHog accepts others still, as far as is known since these events failed last.
    pub still_accepts: bool,
    /// Nine in ten attempts of others succeed, if there are enough to tell.
    pub mostly_accepts: Option<bool>,
    /// PostHog has rejected single events for ten minutes and accepted none.
    pub is_hopeless: bool,
}

impl World {
    /// Whether others are accepted, and most of them where a failure may hit any.
    fn accepts_most_others(self, suspicion: Suspicion) -> bool {
        self.accepts_others && (suspicion == Suspicion::Refusal || self.mostly_accepts == Some(true))
    }
}

/// The fate of events that failed once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try them again, not before the time in their record.
    Wait,
    /// One of the events is bad. Search both halves.
    Search,
    /// The event is bad.
    DeadLetter,
    /// The events are not to blame. All parts of their batch go back to the queue.
    Rejoin,
}

/// The first retry of a batch comes no earlier, by PostHog's contract for SDKs.
pub const FIRST_RETRY: Duration = Duration::from_millis(100);
/// A batch that failed, rather than being refused, rests for a second, so that three failures span longer than a hiccup.
const FAILED_RETRY: Duration = Duration::from_secs(1);
/// A single event that failed. Eight failures, doubling from here up to [`LONGEST_LONE_RETRY`], take 5 min 15 s.
const LONE_RETRY: Duration = Duration::from_secs(5);
const LONGEST_LONE_RETRY: Duration = Duration::from_secs(80);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// While it is not known that others are accepted, so that a recovery is noticed.
const LONGEST_UNDECIDED_RETRY: Duration = Duration::from_secs(10);
/// How often a part is tried while it is unknown whether PostHog accepts most others.
const SLOW_SEARCH: Duration = Duration::from_secs(5);

/// A proxy may hiccup once.
const REFUSALS: u32 = 2;
/// Three in a row are rare by chance while nine in ten others succeed.
const FAILURES_OF_A_BATCH: u32 = 3;
/// A connection that breaks says less about an event than an answer does.
const HANG_UPS_OF_AN_EVENT: u32 = 3;
const FAILURES_OF_AN_EVENT: u32 = 8;
/// Longer than a deployment or a failover of something on the way.
const TIME_OF_AN_EVENT: Duration = Duration::from_secs(300);

impl Record {
    /// These events failed for the first time.
    pub fn new(events: &[QueuedEvent], now: Instant) -> Self {
        Self {
            case: events.first().map_or(0, |event| event.seq),
            since: now,
            last: now,
            is_confirmed: false,
            is_part: false,
            suspicion: None,
            refusals: 0,
            failures: 0,
            nothings: 0,
            alone: (0, now),
            counted: Arc::default(),
            next: now,
            id: None,
        }
    }

    /// These events were sent.
    pub fn sent(&mut self, id: BatchId) {
        self.id = Some(id);
    }

    /// What the next request with them is called.
    pub fn next_id(&self) -> BatchId {
        self.id.map_or_else(BatchId::new, BatchId::again)
    }

    /// The batch that they came from.
    pub fn case(&self) -> u64 {
        self.case
    }

    /// Whether these events are a part of a batch that is searched.
    pub fn is_part(&self) -> bool {
        self.is_part
    }

    /// A failure was counted.
    pub fn count(&self, kind: ErrorKind) {
        lock(&self.counted).push(kind);
    }

    /// The failures that were counted, which turn out to be these events' fault.
    pub fn take_counted(&self) -> Vec<ErrorKind> {
        std::mem::take(&mut *lock(&self.counted))
    }

    /// Returns the circumstances of a failure of these events.
    pub fn world(&self, evidence: &Evidence, now: Instant) -> World {
        World {
            now,
            accepts_others: self.accepts_others(evidence, now),
            still_accepts: evidence.still_accepts(self.case, self.last),
            mostly_accepts: evidence.mostly_accepts(self.case, now),
            is_hopeless: evidence.is_hopeless(now),
        }
    }

    fn accepts_others(&self, evidence: &Evidence, now: Instant) -> bool {
        evidence.accepts_others(self.case, self.since, now)
    }

    /// Whether their failures say something about these events, and not about PostHog.
    pub fn is_suspect(&self, evidence: &Evidence, now: Instant) -> bool {
        self.is_confirmed || self.accepts_others(evidence, now)
    }

    /// These events are refused after they have failed. That is another trouble, so what was accepted since the failure says
    /// nothing about the refusal.
    pub fn turns_to(&mut self, suspicion: Suspicion, now: Instant) {
        if suspicion == Suspicion::Refusal && self.suspicion == Some(Suspicion::Failure) {
            self.since = now;
            (self.refusals, self.failures) = (0, 0);
        }
        self.suspicion = Some(suspicion);
    }

    /// Records a failure of these `events`. `jitter` is from 0 to 1.
    pub fn failed(
        &mut self,
        events: &[QueuedEvent],
        suspicion: Suspicion,
        error: &Error,
        world: World,
        jitter: f64,
    ) {
        if events.len() > 1 || !world.accepts_most_others(suspicion) {
            self.alone = (0, world.now);
        } else {
            let (failures, since) = self.alone;
            self.alone = (failures + 1, if failures == 0 { world.now } else { since });
        }
        *if suspicion == Suspicion::Refusal { &mut self.refusals } else { &mut self.failures } += 1;
        let doublings = self.total().saturating_sub(1).min(31);
        let (first, longest) = match (events.len(), suspicion) {
            (1, _) if !is_about_the_event(error.kind()) => (LONE_RETRY, LONGEST_LONE_RETRY),
            (_, Suspicion::Failure) => (FAILED_RETRY, LONGEST_RETRY),
            _ => (FIRST_RETRY, LONGEST_RETRY),
        };
        self.is_confirmed |= world.accepts_others;
        let longest = if self.is_confirmed { longest } else { longest.min(LONGEST_UNDECIDED_RETRY) };
        let wait = first.saturating_mul(1 << doublings).min(longest);
        let wait = wait.max(error.retry_after().unwrap_or_default());
        (self.last, self.nothings) = (world.now, 0);
        self.next = world.now + wait + FIRST_RETRY.mul_f64(jitter);
    }

    /// Decides about these events after a failure that is recorded.
    pub fn decide(&self, events: usize, suspicion: Suspicion, error: &Error, world: World) -> Decision {
        if suspicion == Suspicion::Failure && self.is_part && world.mostly_accepts == Some(false) {
            return Decision::Rejoin;
        }
        let is_bad = match events {
            1 => self.is_bad_event(error, world),
            _ => self.has_bad_event(suspicion, world),
        };
        match (is_bad, events) {
            (false, _) => Decision::Wait,
            (true, 1) => Decision::DeadLetter,
            (true, _) => Decision::Search,
        }
    }

    fn has_bad_event(&self, suspicion: Suspicion, world: World) -> bool {
        let enough = match suspicion {
            _ if self.is_part => true,
            Suspicion::Refusal => self.refusals >= REFUSALS,
            Suspicion::Failure => self.total() >= FAILURES_OF_A_BATCH,
        };
        let is_by_chance = suspicion == Suspicion::Failure && world.mostly_accepts == Some(false);
        world.accepts_others && enough && !is_by_chance
    }

    fn is_bad_event(&self, error: &Error, world: World) -> bool {
        if is_about_the_event(error.kind()) {
            let enough = match error.status() {
                Some(_) => self.total() >= REFUSALS,
                None => self.total() >= HANG_UPS_OF_AN_EVENT,
            };
            let is_hopeless = world.is_hopeless && error.kind() == ErrorKind::BadRequest;
            // PostHog may refuse everything from one moment to the next.
            return (world.accepts_others && world.still_accepts && enough) || is_hopeless;
        }
        let (failures, since) = self.alone;
        let is_long = world.now.saturating_duration_since(since) >= TIME_OF_AN_EVENT;
        is_long && failures >= FAILURES_OF_AN_EVENT
    }

    /// These events wait behind others whose turn has not come yet.
    pub fn after_others(self, now: Instant) -> Self {
        Self { last: now, ..self }
    }

    /// Whether these events go as two halves, because they were refused together or failed together often, or because this
    /// is the last chance.
    pub fn must_be_searched(&self, is_suspect: bool, is_last_chance: bool) -> bool {
        let is_enough = !is_suspect || self.is_part || self.total() >= REFUSALS;
        let fails_alone = !is_suspect && self.failures >= FAILURES_OF_A_BATCH;
        (self.refusals > 0 && is_enough) || fails_alone || (is_last_chance && self.total() > 0)
    }

    /// Has the events tried as soon as a retry may come, because this is their last chance.
    pub fn hurry(&mut self, now: Instant) {
        self.next = self.next.min(now + FIRST_RETRY);
    }

    /// An attempt came to nothing that says anything about these events.
    pub fn after_nothing(self, now: Instant) -> Self {
        let wait = FAILED_RETRY.saturating_mul(1 << self.nothings.min(31)).min(LONGEST_UNDECIDED_RETRY);
        Self { next: now + wait, nothings: self.nothings + 1, ..self }
    }

    fn total(&self) -> u32 {
        self.refusals + self.failures
    }

    /// The record of a half of these events.
    pub fn of_half(&self, next: Instant) -> Self {
        Self { is_part: true, refusals: 0, failures: 0, next, id: None, ..self.clone() }
    }
}

/// Whether PostHog itself says something about the event. Anything else may come from something in between.
fn is_about_the_event(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BadRequest | ErrorKind::TooLarge)
}

/// The batches that failed and stepped aside, so that others go first, and the parts of those that are searched for a bad
/// event. The latest is tried first: then a bad event stands alone after 2·log₂(n) requests.
#[derive(Debug, Default)]
pub struct Suspects {
    parts: Vec<(Vec<QueuedEvent>, Record)>,
    /// Rejections in a row while nothing was accepted.
    rejections: u32,
    /// Set after too many rejections: then of the parts of which it is not known that others are accepted, one a pause is
    /// tried.
    parked: Option<Parked>,
}

#[derive(Clone, Copy, Debug)]
struct Parked {
    until: Instant,
    pause: Duration,
}

/// One bad event in a hundred is found after at most nine rejections in a row. Sixteen without an accepted event are no accident
/// but a wrong schema, and going on would cost two requests an event.
const TOO_MANY_REJECTIONS: u32 = 16;

impl Suspects {
    pub fn push(&mut self, events: Vec<QueuedEvent>, record: Record) {
        self.parts.push((events, record));
    }

    /// Divides a part. Its first half is next.
    pub fn push_halves(&mut self, halves: (Vec<QueuedEvent>, Vec<QueuedEvent>), of: &Record, next: Instant) {
        self.push(halves.1, of.of_half(next));
        self.push(halves.0, of.of_half(next));
    }

    /// Returns when the next part of a search is due. That is now while PostHog accepts most others, and later otherwise.
    pub fn pace(suspicion: Suspicion, world: World) -> Instant {
        if world.accepts_most_others(suspicion) { world.now } else { world.now + SLOW_SEARCH }
    }

    /// Takes the next part that is a suspect, or one of which it is not known whether others are accepted.
    pub fn pop(&mut self, now: Instant, is_suspect: bool, evidence: &Evidence) -> Option<Part> {
        if !is_suspect && self.parked.is_some_and(|parked| now < parked.until) {
            return None;
        }
        let is_next =
            |(_, record): &(_, Record)| record.next <= now && record.is_suspect(evidence, now) == is_suspect;
        let at = match self.parked.as_mut().filter(|_| !is_suspect) {
            // Each in its turn: the latest may be a bad event, which proves nothing however often it is tried.
            Some(parked) => {
                let due = self.parts.iter().enumerate().filter(|(_, part)| is_next(part));
                let (at, _) = due.min_by_key(|(_, (_, record))| record.last)?;
                parked.until = now + parked.pause;
                at
            }
            None => self.parts.iter().rposition(is_next)?,
        };
        let (events, record) = self.parts.remove(at);
        Some(Part { events, record: Some(record) })
    }

    /// Whether as much has stepped aside as a queue of this size holds.
    pub fn are_too_many(&self, queue: &Limits) -> bool {
        let events = self.parts.iter().flat_map(|(events, _)| events);
        let (events, bytes) = events.fold((0, 0), |(n, bytes), event| (n + 1, bytes + event.bytes()));
        events >= queue.events || bytes >= queue.bytes
    }

    /// Takes all parts of this batch.
    pub fn take_case(&mut self, of: &Record) -> impl Iterator<Item = Vec<QueuedEvent>> {
        let case = of.case;
        self.parts.extract_if(.., move |(_, record)| record.case == case).map(|(events, _)| events)
    }

    /// PostHog rejected a part, and accepts no others. Whether that was once too often in a row.
    pub fn rejected(&mut self) -> bool {
        self.rejections += 1;
        self.rejections >= TOO_MANY_REJECTIONS
    }

    /// Tries one part a pause, as long as nothing is accepted.
    pub fn park(&mut self, now: Instant, pause: Duration) {
        self.parked = Some(Parked { until: now + pause, pause });
    }

    pub fn is_parked(&self) -> bool {
        self.parked.is_some()
    }

    /// A part failed and was not rejected, which is no answer to whether PostHog still rejects all. So the next part need not
    /// wait for a whole pause.
    pub fn failed(&mut self, now: Instant) {
        let soon = now + FAILED_RETRY;
        self.parked.iter_mut().for_each(|parked| parked.until = parked.until.min(soon));
    }

    /// Some events were accepted.
    pub fn accepted(&mut self) {
        self.parked = None;
        self.rejections = 0;
    }

    /// Takes what failed in an outage, together with all others, so that it says nothing about the events. Once: an event that
    /// fails in each of them is suspect.
    pub fn take_undecided(&mut self, now: Instant, evidence: &Evidence) -> Vec<Vec<QueuedEvent>> {
        let is_undecided = |(events, record): &mut (Vec<QueuedEvent>, Record)| {
            let has_rested = record.last + FIRST_RETRY <= now;
            has_rested && !record.is_suspect(evidence, now) && events.iter().all(|event| event.attempts == 0)
        };
        self.parts.extract_if(.., is_undecided).map(|(events, _)| events).collect()
    }

    /// Makes everything due now, because this is its last chance.
    pub fn hurry(&mut self, now: Instant) {
        self.parked = None;
        self.parts.iter_mut().for_each(|(_, record)| record.next = record.next.min(now));
    }

    /// When the next part is due that is a suspect, or is not.
    pub fn due(&self, now: Instant, is_suspect: bool, evidence: &Evidence) -> Option<Instant> {
        let parked_until = self.parked.filter(|_| !is_suspect).map(|parked| parked.until);
        let alike = self.parts.iter().filter(|(_, record)| record.is_suspect(evidence, now) == is_suspect);
        alike
            .map(|(_, record)| record.next)
            .min()
            .map(|next| parked_until.map_or(next, |until| next.max(until)))
    }

    /// How many events failed while others were accepted.
    pub fn confirmed(&self) -> usize {
        self.parts.iter().filter(|(_, record)| record.is_confirmed).map(|(events, _)| events.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_part_that_fails_and_is_not_rejected_leaves_its_turn_to_the_next() {
        let (now, mut suspects) = (Instant::now(), Suspects::default());
        let evidence = Evidence::new(now);
        for seq in [7, 8] {
            let events = vec![QueuedEvent::new("{}".into(), seq, 0)];
            let record = Record::new(&events, now);
            suspects.push(events, record);
        }
        suspects.park(now, Duration::from_secs(120));
        assert!(suspects.pop(now, false, &evidence).is_none());
        let turn = now + Duration::from_secs(120);
        let Part { events, .. } = suspects.pop(turn, false, &evidence).unwrap();
        assert_eq!(events[0].seq, 7);
        assert_eq!(suspects.due(turn, false, &evidence), Some(turn + Duration::from_secs(120)));
        suspects.failed(turn);
        assert_eq!(suspects.due(turn, false, &evidence), Some(turn + FAILED_RETRY));
        assert_eq!(suspects.pop(turn + FAILED_RETRY, false, &evidence).unwrap().events[0].seq, 8);
    }

    /// PostHog may have begun to refuse everything in the moment in which the event is alone.
    #[test]
    fn a_part_is_bad_if_posthog_still_accepts_others_when_it_is_refused_again() {
        let event = [QueuedEvent::new("{}".into(), 7, 0)];
        let error = Error::new(ErrorKind::BadRequest).with_status(400);
        let now = Instant::now();
        let world = |still_accepts| World {
            now,
            accepts_others: true,
            still_accepts,
            mostly_accepts: None,
            is_hopeless: false,
        };
        let decisions = |still_accepts: [bool; 2]| {
            let mut record = Record::new(&event, now).of_half(now);
            still_accepts.map(|still| {
                record.failed(&event, Suspicion::Refusal, &error, world(still), 0.0);
                record.decide(1, Suspicion::Refusal, &error, world(still))
            })
        };
        assert_eq!(decisions([true, true]), [Decision::Wait, Decision::DeadLetter]);
        assert_eq!(decisions([true, false]), [Decision::Wait, Decision::Wait]);
    }
}

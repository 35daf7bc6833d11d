//! The oracle's own knowledge: the captured events, and their fate in the world.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use memchr::memmem;
use tokio::time::Instant;
use uuid::Uuid;

use super::capture_v1::Capture;
use super::config::Config;
use super::coverage::Coverage;
use super::history::{History, Lines};
use super::incidents::Incidents;
use super::oracle::Ended;
use super::plan::{EventKind, Trouble};
use super::requests::Requests;

/// Everything outside of the client, shared by the driver, the simulated PostHog and the hooks.
#[derive(Clone, Debug)]
pub struct World(Arc<Mutex<State>>);

#[derive(Debug)]
pub struct State {
    pub config: Config,
    begun: Instant,
    pub history: History,
    pub coverage: Coverage,
    pub rng: fastrand::Rng,
    /// By their ids.
    pub events: Vec<Captured>,
    /// By their numbers.
    pub processes: Vec<Observed>,
    /// PostHog's, until when.
    pub troubles: Vec<(Trouble, Instant)>,
    /// The number of the token that is valid. The tokens before it were replaced.
    pub token: u32,
    /// The first violation of a rule.
    pub violation: Option<Violation>,
    pub step: usize,
    /// The deeds of the world.
    pub incidents: Incidents,
}

/// An event, from the side of the service and of PostHog.
#[derive(Clone, Debug)]
pub struct Captured {
    pub uuid: String,
    pub kind: EventKind,
    /// Of the process that captured it.
    pub process: usize,
    pub at: Instant,
    /// The wall clock around the call.
    pub wall: (SystemTime, SystemTime),
    pub durable: Durable,
    /// When its caller learned that it is on disk.
    pub stored_at: Option<Instant>,
    /// When a person sent it again last, as a dead letter.
    pub replayed_at: Option<Instant>,
    /// V1 has not mentioned it in an answer.
    pub was_forgotten: bool,
    /// How often PostHog took it.
    pub accepted: u32,
    pub accepted_at: Option<Instant>,
    /// The process that has had the answer of its delivery.
    pub acknowledged_to: Option<usize>,
    /// The answer said that PostHog discards it, over quota.
    pub is_over_quota: bool,
    /// How often it was in a request.
    pub sent: u32,
    /// Whose request with it failed last, and when.
    pub failed_at: Option<(usize, Instant)>,
    /// How often it held up others.
    pub held_up: u32,
    /// As PostHog saw it first.
    pub timestamp: Option<String>,
    /// It was captured after the end of its client's admission.
    pub is_late: bool,
    /// The call of `capture` has returned.
    pub is_done: bool,
}

impl Captured {
    /// Whether it is to be sent and has not been, unless there was no room for it.
    pub fn waits(&self) -> bool {
        self.kind.is_good() && self.is_done && !self.is_late && self.sent == 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    No,
    Waits,
    OnDisk,
    Refused,
    /// The caller has lost patience.
    GivenUp,
}

/// Observations of a process.
#[derive(Debug, Default)]
pub struct Observed {
    /// Until when PostHog asked it to be left alone, by answers that it has had.
    pub left_alone_until: Option<Instant>,
    /// The latest answers to batches, with their times.
    pub answers: Vec<(Instant, Answered)>,
    /// When requests with batches began.
    pub begun: Vec<Instant>,
    pub requests: Requests,
    pub capture: Capture,
    /// Since when two probes or more have found its token refused, and which.
    pub token_refused_at: Option<(Instant, Option<u32>)>,
    /// The latest probe whose answer said anything about it found it refused.
    pub token_was_refused_last: bool,
    /// So did the latest probe, of this token.
    pub refused_in_a_row: Option<Option<u32>>,
    /// A probe has found it refused at some time.
    pub token_was_refused: bool,
    /// When a probe got no answer last in the time of a request, though its token was known as refused. Such a probe is the
    /// first thing that an attempt does.
    pub check_timed_out_at: Option<Instant>,
    /// `None` only before it has started.
    pub started: Option<Instant>,
    /// When its spool was open first.
    pub opened: Option<Instant>,
    /// When its spool had too little room last to search for others' files.
    pub lacked_room: Option<Instant>,
    pub ended: Option<(Instant, Ended)>,
    /// Its tasks have ended, and it has not.
    pub tasks_ended: Option<Instant>,
    /// It accepts no more events.
    pub is_closed: bool,
    /// Nothing of it is left.
    pub is_over: bool,
}

impl Observed {
    /// A probe was answered. `refused` says whether the token is refused, if the answer tells.
    pub fn probed(&mut self, key: Option<u32>, refused: Option<bool>, now: Instant) {
        let is_refused = refused == Some(true);
        // The client asks once more before it believes it.
        let believes = is_refused && self.refused_in_a_row == Some(key);
        let known = self.token_refused_at.filter(|(_, known)| *known == key);
        self.token_refused_at = believes.then(|| known.unwrap_or((now, key)));
        self.refused_in_a_row = is_refused.then_some(key);
        self.token_was_refused_last = refused.unwrap_or(self.token_was_refused_last);
        self.token_was_refused |= is_refused;
    }

    pub fn is_crashed(&self) -> bool {
        self.ended.is_some_and(|(_, how)| how != Ended::InOrder)
    }
}

/// The end of a request, as the client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answered {
    Accepted,
    OverQuota,
    /// V1 has stored none, or the client goes on with V0.
    Nothing,
    /// With its status, or 0 without an answer. `by_content`: an event provoked it.
    /// `fresh`: it was the first attempt of all its events.
    Failed {
        status: u16,
        by_content: bool,
        fresh: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub step: usize,
    pub rule: &'static str,
    pub text: String,
}

impl World {
    pub fn new(seed: u64, config: &Config, lines: Lines) -> Self {
        let state = State {
            config: config.clone(),
            begun: Instant::now(),
            history: History::new(lines),
            coverage: Coverage::default(),
            rng: fastrand::Rng::with_seed(seed ^ 0x5eed),
            events: Vec::new(),
            processes: Vec::new(),
            troubles: Vec::new(),
            token: 0,
            violation: None,
            step: 0,
            incidents: Incidents::default(),
        };
        Self(Arc::new(Mutex::new(state)))
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes something in the history.
    pub fn note(&self, text: impl Display) {
        self.lock().note(text);
    }
}

impl State {
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    pub fn note(&mut self, text: impl Display) {
        let at = self.elapsed();
        self.history.note(at, text);
    }

    /// Notes that a rule is broken. The first one counts.
    pub fn violate(&mut self, rule: &'static str, text: impl Display) {
        if self.violation.is_none() {
            self.note(format_args!("VIOLATION of \"{rule}\": {text}"));
            self.violation = Some(Violation { step: self.step, rule, text: text.to_string() });
        }
    }

    /// Registers an event that is about to be captured. Returns its uuid.
    pub fn captures(
        &mut self,
        process: usize,
        kind: EventKind,
        wall: SystemTime,
        durable: Durable,
    ) -> (usize, Uuid) {
        let id = self.events.len();
        self.events.push(Captured {
            uuid: uuid_of(id).to_string(),
            kind,
            process,
            at: Instant::now(),
            wall: (wall, wall),
            durable,
            stored_at: None,
            replayed_at: None,
            was_forgotten: false,
            accepted: 0,
            accepted_at: None,
            acknowledged_to: None,
            is_over_quota: false,
            sent: 0,
            failed_at: None,
            held_up: 0,
            timestamp: None,
            is_late: self.processes[process].is_closed,
            is_done: false,
        });
        (id, uuid_of(id))
    }

    /// The call that captures an event has returned.
    pub fn captured(&mut self, id: usize, wall: SystemTime) {
        let event = &mut self.events[id];
        event.wall.1 = wall;
        event.is_done = true;
    }

    /// The troubles of PostHog that are under way.
    pub fn troubles(&mut self) -> Vec<Trouble> {
        let now = Instant::now();
        self.troubles.retain(|(_, until)| *until > now);
        self.troubles.iter().map(|(trouble, _)| *trouble).collect()
    }

    /// When PostHog first took events after that.
    pub fn accepted_since(&self, after: Instant) -> Option<Instant> {
        self.events.iter().filter_map(|event| event.accepted_at).filter(|at| *at > after).min()
    }

    /// Counts of events by a property.
    pub fn count(&self, is: impl Fn(&Captured) -> bool) -> u64 {
        self.events.iter().filter(|event| is(event)).count() as u64
    }
}

/// The uuids tell the ids.
const FIRST_UUID: u128 = 0x5151_5151_0000_4000_8000_0000_0000_0000;

fn uuid_of(id: usize) -> Uuid {
    Uuid::from_u128(FIRST_UUID + id as u128)
}

/// The id of an event with this uuid, if one of ours has it.
pub fn id_of(uuid: &str) -> Option<usize> {
    let uuid = Uuid::parse_str(uuid).ok()?;
    usize::try_from(uuid.as_u128().checked_sub(FIRST_UUID)?).ok()
}

/// The id of an event by its JSON. No other member of our events has this name.
pub fn id_in(event: &[u8]) -> Option<usize> {
    const MEMBER: &[u8] = br#""uuid":""#;
    let uuid = event.get(memmem::find(event, MEMBER)? + MEMBER.len()..)?.get(..36)?;
    id_of(str::from_utf8(uuid).ok()?)
}

/// Milliseconds since 1970.
pub fn millis(at: SystemTime) -> i128 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_millis() as i128,
        Err(before) => -(before.duration().as_millis() as i128),
    }
}

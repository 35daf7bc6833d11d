//! Draws a plan.

use std::time::Duration;

use fastrand::Rng;

use super::{
    Action, DiskFault, DiskTrouble, EventKind, Fault, Make, Patience, Plan, Provokes, Step, Trouble,
};
use crate::CaptureProtocol;
use crate::simulation::config::Config;

impl Plan {
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let config = Config::draw(&mut rng);
        let mut draft = Draft { minutes: rng.u64(9..16), steps: Vec::new(), rng, config };
        draft.workload();
        draft.world();
        draft.coincidences();
        draft.capture_v1(&mut Rng::with_seed(seed ^ 0x71));
        // The search of a batch with a bad event needs other events.
        let ends_quietly = draft.rng.bool() && !draft.steps.iter().any(Step::is_bad_event);
        let Draft { mut steps, config, .. } = draft;
        steps.sort_by_key(|step| step.at);
        Self { seed, config, steps, ends_quietly }
    }
}

pub struct Draft {
    pub rng: Rng,
    pub minutes: u64,
    pub config: Config,
    pub steps: Vec<Step>,
}

impl Draft {
    fn any_time(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(..self.minutes * 60_000))
    }

    pub fn add(&mut self, at: Duration, action: Action) {
        self.steps.push(Step { at, action });
    }

    fn workload(&mut self) {
        let end = Duration::from_secs(self.minutes * 60);
        let mut at = Duration::ZERO;
        // Phases of even traffic, and silence in between.
        while at < end {
            let until = at + Duration::from_secs(self.rng.u64(10..120));
            let pause = [200, 1_000, 1_000, 3_000, 10_000][self.rng.usize(..5)];
            let burst = [1, 1, 2, 5][self.rng.usize(..4)];
            if self.rng.u8(..8) > 0 {
                while at < until.min(end) {
                    let events = self.rng.u32(1..=burst);
                    let make = self.make();
                    self.add(at, Action::Capture { events, make });
                    at += Duration::from_millis(self.rng.u64(pause / 2..pause * 3 / 2));
                }
            }
            at = until;
        }
        for _ in 0..self.rng.u32(1..4) {
            let (at, events) = (self.any_time(), [50, 100, 300, 600][self.rng.usize(..4)]);
            let make = Make { kind: EventKind::Good, ..self.make() };
            self.add(at, Action::Capture { events, make });
        }
        // A few bad ones in a third of all seeds, many in some. Half a queue of them, or half of the traffic, leaves too
        // little to learn from. So they come with others.
        let captures: Vec<_> = self.steps.iter().map(|step| step.at).collect();
        let most = (self.config.settings().queue_events / 25).min(captures.len() / 60);
        let bad = most.min([0, 0, 0, 1, 3, 8, 60][self.rng.usize(..7)]);
        let one = Provokes::ALL[self.rng.usize(..Provokes::ALL.len())];
        for _ in 0..bad {
            // Many come from one mistake, whose search does not take minutes for each.
            let drawn = if bad > 8 && !one.is_refusal() {
                Provokes::BadRequest
            } else if bad > 8 || self.rng.bool() {
                one
            } else {
                Provokes::ALL[self.rng.usize(..Provokes::ALL.len())]
            };
            // Each hang takes a request's time to find, one after the other.
            let provokes = if drawn == Provokes::Hang && bad > 1 { Provokes::ServerError } else { drawn };
            let at = captures[self.rng.usize(..captures.len())];
            let make = Make { kind: EventKind::Bad(provokes), ..self.make() };
            self.add(at, Action::Capture { events: 1, make });
        }
        for _ in 0..self.rng.u32(..6) {
            let (at, make) = (self.any_time(), self.make());
            let patience = self.patience();
            self.add(at, Action::CaptureDurably { make, patience });
        }
        for _ in 0..self.rng.u32(..4) {
            let (at, patience) = (self.any_time(), self.patience());
            self.add(at, Action::Flush { patience });
        }
        if self.rng.bool() {
            let (mut at, every) = (Duration::ZERO, Duration::from_secs(self.rng.u64(5..60)));
            while at < end {
                let patience = self.patience();
                self.add(at, Action::HealthCheck { patience });
                at += every;
            }
        }
        for action in [Action::ReplayDeadLetters, Action::DiscardDeadLetters] {
            if self.rng.u8(..4) == 0 {
                let at = self.any_time();
                self.add(at, action);
            }
        }
    }

    fn make(&mut self) -> Make {
        let size = [50, 300, 300, 1_000, 5_000][self.rng.usize(..5)];
        let special = [
            EventKind::NoName,
            EventKind::NoDistinctId,
            EventKind::TooDeep,
            EventKind::NotEncodable,
            EventKind::Oversize,
            EventKind::Giant,
            EventKind::HookChanges,
            EventKind::HookDrops,
            EventKind::HookPanics,
            EventKind::HookCaptures,
            EventKind::HookBlocks,
        ];
        let kind = match self.rng.usize(..400) {
            n if n < special.len() => special[n],
            _ => EventKind::Good,
        };
        // Only a typed event can fail to be written, and only an event of the SDK has a depth that is not a type's.
        let is_typed = match kind {
            EventKind::NotEncodable => true,
            EventKind::TooDeep => false,
            _ => self.rng.bool(),
        };
        Make { kind, is_typed, size }
    }

    /// Most callers wait for the end.
    fn patience(&mut self) -> Option<Patience> {
        match self.rng.u8(..8) {
            0 => Some(Patience::Polls(self.rng.u32(1..6))),
            1 => Some(Patience::Time(Duration::from_millis(self.rng.u64(1..3_000)))),
            _ => None,
        }
    }

    fn world(&mut self) {
        for _ in 0..self.rng.u32(1..5) {
            let at = self.any_time();
            let fault = match Fault::draw(&mut self.rng) {
                // Only another process would get the new token.
                Fault::TokenRotated if !self.config.has_provider => Fault::TokenRefused,
                fault => fault,
            };
            // What refuses some requests and takes others looks as if the events were bad.
            let is_partial = !fault.refuses() || self.rng.u8(..8) == 0;
            let share = if is_partial && self.rng.bool() { self.rng.u8(10..100) } else { 100 };
            let lasts = Duration::from_secs([2, 10, 30, 60, 180, 400][self.rng.usize(..6)]);
            self.add(at, Action::PostHog(Trouble { fault, share, lasts }));
        }
        for _ in 0..self.rng.u32(..4) {
            let (at, down) = (self.any_time(), self.down());
            let action = match self.rng.u8(..8) {
                0 | 1 => Action::Shutdown {
                    deadline: Duration::from_millis([50, 500, 5_000, 20_000][self.rng.usize(..4)]),
                    patience: self.patience(),
                    down,
                },
                2 | 3 => Action::Kill { at_write: None, down },
                4 | 5 => Action::Kill { at_write: Some(self.rng.u32(1..40)), down },
                6 => Action::PowerLoss { down },
                _ => Action::RuntimeEnds { lives: Duration::from_secs(self.rng.u64(1..60)), down },
            };
            self.add(at, action);
        }
        if self.rng.u8(..4) == 0 {
            let forward = self.rng.bool();
            let by = Duration::from_secs([60, 600, 86_400, 10 * 86_400, 400 * 86_400][self.rng.usize(..5)]);
            let at = self.any_time();
            self.add(at, Action::ClockJump { forward, by });
        }
        if self.config.spool.is_none() {
            return;
        }
        if self.rng.u8(..3) == 0 {
            let (at, lives) = (self.any_time(), Duration::from_secs(self.rng.u64(5..120)));
            self.add(at, Action::Neighbour { lives });
        }
        for _ in 0..self.rng.u32(..3) {
            let fault = match DiskFault::ALL[self.rng.usize(..DiskFault::ALL.len())] {
                DiskFault::Slow { .. } => DiskFault::Slow { millis: self.rng.u32(1..200) },
                fault => fault,
            };
            let lasts = Duration::from_secs(self.rng.u64(1..90));
            let at = self.any_time();
            self.add(at, Action::Disk(DiskTrouble { fault, lasts }));
        }
    }

    /// Half of the worlds speak V1 or try to. It has a generator of its own, so that the others stay as they are.
    fn capture_v1(&mut self, rng: &mut Rng) {
        self.config.protocol =
            [CaptureProtocol::V0, CaptureProtocol::V0, CaptureProtocol::Auto, CaptureProtocol::V1]
                [rng.usize(..4)];
        if self.config.protocol == CaptureProtocol::V0 {
            return;
        }
        for _ in 0..rng.u32(..4) {
            let fault = Fault::OF_V1[rng.usize(..Fault::OF_V1.len())];
            let share = if rng.bool() { rng.u8(1..100) } else { 100 };
            let lasts = Duration::from_secs([2, 10, 30, 60, 180, 400][rng.usize(..6)]);
            let at = Duration::from_millis(rng.u64(..self.minutes * 60_000));
            self.add(at, Action::PostHog(Trouble { fault, share, lasts }));
        }
    }

    pub fn down(&mut self) -> Duration {
        Duration::from_millis([0, 100, 2_000, 30_000][self.rng.usize(..4)])
    }
}

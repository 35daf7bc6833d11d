//! What a seed draws: a configuration, a workload and a world, as a list of steps.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

use super::config::Config;
use super::words::seconds;
use crate::DropReason;

/// One history before it happens.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub config: Config,
    /// In the order of their times.
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub struct Step {
    /// Since the beginning.
    pub at: Duration,
    pub action: Action,
}

/// What happens in a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The service captures events, one after the other.
    Capture {
        events: u32,
        make: Make,
    },
    /// The service captures one event and waits until it is on disk, for no more than that many polls.
    CaptureDurably {
        make: Make,
        polls: Option<u32>,
    },
    Flush {
        polls: Option<u32>,
    },
    HealthCheck {
        polls: Option<u32>,
    },
    ReplayDeadLetters,
    DiscardDeadLetters,
    /// An orderly end, and the next process after a while. Without an end after `polls`, the handle is dropped.
    Shutdown {
        deadline: Duration,
        polls: Option<u32>,
        down: Duration,
    },
    /// The process is killed, at once or in the middle of its n-th write from now on.
    Kill {
        at_write: Option<u32>,
        down: Duration,
    },
    /// The machine loses its power.
    PowerLoss {
        down: Duration,
    },
    /// The process's tasks end, as with their runtime, and the handle lives on for a while.
    RuntimeEnds {
        lives: Duration,
        down: Duration,
    },
    /// A second process works in the same directory for a while, and ends in order.
    Neighbour {
        lives: Duration,
    },
    /// The wall clock jumps.
    ClockJump {
        forward: bool,
        by: Duration,
    },
    PostHog(Trouble),
    Disk(DiskTrouble),
}

/// What is captured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Make {
    pub kind: EventKind,
    pub is_typed: bool,
    /// Bytes of a text in its properties.
    pub size: u32,
}

/// What is special about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    Good,
    Bad(Provokes),
    NoName,
    NoDistinctId,
    TooDeep,
    NotEncodable,
    /// Larger than one event may be.
    Oversize,
    /// Larger than the queue may be.
    Giant,
    HookChanges,
    HookDrops,
    HookPanics,
    /// The hook captures another event.
    HookCaptures,
    /// The other event.
    InsideHook,
    /// The hook blocks its thread for a second.
    HookBlocks,
}

/// What PostHog, or something before it, does with a request in which the event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provokes {
    BadRequest,
    /// A firewall's page.
    ForbiddenPage,
    TooLarge,
    ServerError,
    /// A proxy's page.
    GatewayPage,
    Reset,
    Hang,
}

impl EventKind {
    /// Whether PostHog takes it.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Good | Self::HookChanges | Self::HookCaptures | Self::HookBlocks)
    }

    pub fn is_bad(self) -> bool {
        matches!(self, Self::Bad(_))
    }

    /// Why the client does not let it in, whatever else happens.
    pub fn refused_as(self) -> Option<DropReason> {
        Some(match self {
            Self::NoName => DropReason::NoName,
            Self::NoDistinctId => DropReason::NoDistinctId,
            Self::TooDeep => DropReason::TooDeep,
            Self::NotEncodable => DropReason::NotEncodable,
            Self::Giant => DropReason::TooLarge,
            Self::HookDrops => DropReason::BeforeSend,
            Self::HookPanics => DropReason::HookPanicked,
            Self::InsideHook => DropReason::InsideHook,
            _ => return None,
        })
    }
}

impl Provokes {
    pub const ALL: [Self; 7] = [
        Self::BadRequest,
        Self::ForbiddenPage,
        Self::TooLarge,
        Self::ServerError,
        Self::GatewayPage,
        Self::Reset,
        Self::Hang,
    ];
}

/// PostHog, or the network before it, is in trouble for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trouble {
    pub fault: Fault,
    /// Of how many requests in a hundred.
    pub share: u8,
    pub lasts: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An answer with this status, and with a Retry-After.
    Status {
        status: u16,
        retry_after: Option<u32>,
    },
    /// A page of a proxy or a firewall with this status.
    Page {
        status: u16,
    },
    Refused,
    NoName,
    NoTls,
    Reset,
    Hang,
    /// An answer after that many milliseconds.
    Slow {
        millis: u32,
    },
    /// The events arrive, and the answer is lost.
    AnswerLost,
    /// The events arrive, and the answer is cut.
    AnswerCut,
    /// The request arrives twice.
    Twice,
    /// Nothing larger than that passes.
    BodyLimit {
        bytes: u32,
    },
    OverQuota,
    /// The token is refused by capture and by the probe.
    TokenRefused,
    /// The token is unknown: capture takes the events and throws them away, and only the probe tells.
    TokenUnknown,
    /// The token is replaced: the old one is refused, and the provider has the new one from the beginning on.
    TokenRotated,
}

impl Fault {
    /// The name that the coverage report counts it under.
    pub fn name(self) -> String {
        match self {
            Self::Status { status, retry_after: None } => format!("{status}"),
            Self::Status { status, retry_after: Some(_) } => format!("{status} with Retry-After"),
            Self::Page { status } => format!("{status} with a page"),
            Self::Slow { .. } => "slow answers".into(),
            Self::BodyLimit { .. } => "a body limit".into(),
            Self::Refused => "no connection".into(),
            Self::NoName => "no name".into(),
            Self::NoTls => "no TLS".into(),
            Self::Reset => "resets".into(),
            Self::Hang => "hangs".into(),
            Self::AnswerLost => "lost answers".into(),
            Self::AnswerCut => "cut answers".into(),
            Self::Twice => "requests that arrive twice".into(),
            Self::OverQuota => "over quota".into(),
            Self::TokenRefused => "a refused token".into(),
            Self::TokenUnknown => "an unknown token".into(),
            Self::TokenRotated => "a rotated token".into(),
        }
    }

    /// Whether the client takes it as a verdict about the events, if others are taken meanwhile.
    pub fn refuses(self) -> bool {
        match self {
            Self::Status { status, .. } | Self::Page { status } => {
                status < 500 && status != 408 && status != 429
            }
            Self::TokenRefused | Self::BodyLimit { .. } => true,
            _ => false,
        }
    }

    /// All that a world can draw.
    pub fn all() -> Vec<Self> {
        let status = |status| Self::Status { status, retry_after: None };
        vec![
            status(400),
            status(402),
            status(404),
            status(408),
            status(413),
            status(429),
            status(500),
            status(503),
            Self::Status { status: 429, retry_after: Some(20) },
            Self::Status { status: 503, retry_after: Some(120) },
            Self::Page { status: 200 },
            Self::Page { status: 403 },
            Self::Page { status: 502 },
            Self::Refused,
            Self::NoName,
            Self::NoTls,
            Self::Reset,
            Self::Hang,
            Self::Slow { millis: 2_000 },
            Self::AnswerLost,
            Self::AnswerCut,
            Self::Twice,
            Self::BodyLimit { bytes: 8_000 },
            Self::OverQuota,
            Self::TokenRefused,
            Self::TokenUnknown,
            Self::TokenRotated,
        ]
    }

    fn draw(rng: &mut Rng) -> Self {
        let all = Self::all();
        match all[rng.usize(..all.len())] {
            Self::Status { status, retry_after: Some(_) } => {
                Self::Status { status, retry_after: Some(rng.u32(1..400)) }
            }
            Self::Slow { .. } => Self::Slow { millis: rng.u32(500..9_000) },
            Self::BodyLimit { .. } => Self::BodyLimit { bytes: rng.u32(4_000..60_000) },
            fault => fault,
        }
    }
}

/// The disk is in trouble for a while, or once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiskTrouble {
    pub fault: DiskFault,
    pub lasts: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskFault {
    /// Each operation takes that many milliseconds.
    Slow {
        millis: u32,
    },
    Hangs,
    Fails,
    ReadsFail,
    /// A sync fails, and the kernel forgets what it should have written.
    Forgets,
    IsFull,
    /// Somebody removes the files.
    FilesRemoved,
    /// One byte of a file changes.
    ByteFlips,
}

impl DiskFault {
    pub const ALL: [Self; 8] = [
        Self::Slow { millis: 20 },
        Self::Hangs,
        Self::Fails,
        Self::ReadsFail,
        Self::Forgets,
        Self::IsFull,
        Self::FilesRemoved,
        Self::ByteFlips,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Slow { .. } => "a slow disk",
            Self::Hangs => "a disk that hangs",
            Self::Fails => "a disk that fails",
            Self::ReadsFail => "a disk that cannot be read",
            Self::Forgets => "a disk that forgets",
            Self::IsFull => "a full disk",
            Self::FilesRemoved => "removed files",
            Self::ByteFlips => "a flipped byte",
        }
    }

    /// Whether it may cost events that were on disk.
    pub fn destroys(self) -> bool {
        matches!(self, Self::FilesRemoved | Self::ByteFlips)
    }
}

impl Plan {
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let config = Config::draw(&mut rng);
        let mut draft = Draft { minutes: rng.u64(9..16), steps: Vec::new(), rng, config };
        draft.workload();
        draft.world();
        let Draft { mut steps, config, .. } = draft;
        steps.sort_by_key(|step| step.at);
        Self { seed, config, steps }
    }

    /// Prints the configuration, and what is to happen besides ordinary captures.
    pub fn print(&self) {
        println!("seed {}: {:?}", self.seed, self.config);
        for Step { at, action } in &self.steps {
            if !matches!(action, Action::Capture { .. }) {
                println!("{:>10}  planned: {action}", seconds(*at));
            }
        }
    }

    /// When the world becomes well.
    pub fn end(&self) -> Duration {
        self.steps.last().map_or(Duration::ZERO, |step| step.at) + Duration::from_secs(1)
    }
}

struct Draft {
    rng: Rng,
    minutes: u64,
    config: Config,
    steps: Vec<Step>,
}

impl Draft {
    fn any_time(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(..self.minutes * 60_000))
    }

    fn add(&mut self, at: Duration, action: Action) {
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
        // A few bad ones in a third of all seeds, many in some.
        // Half a queue of bad ones leaves too little to learn from.
        let most = self.config.settings().queue_events / 25;
        let bad = most.min([0, 0, 0, 1, 3, 8][self.rng.usize(..6)]);
        let one = Provokes::ALL[self.rng.usize(..Provokes::ALL.len())];
        for _ in 0..bad {
            let drawn =
                if self.rng.bool() { one } else { Provokes::ALL[self.rng.usize(..Provokes::ALL.len())] };
            // Each hang takes a request's time to find, one after the other.
            let provokes = if drawn == Provokes::Hang && bad > 1 { Provokes::ServerError } else { drawn };
            let (at, make) = (self.any_time(), Make { kind: EventKind::Bad(provokes), ..self.make() });
            self.add(at, Action::Capture { events: 1, make });
        }
        for _ in 0..self.rng.u32(..6) {
            let (at, make) = (self.any_time(), self.make());
            let polls = self.polls();
            self.add(at, Action::CaptureDurably { make, polls });
        }
        for _ in 0..self.rng.u32(..4) {
            let (at, polls) = (self.any_time(), self.polls());
            self.add(at, Action::Flush { polls });
        }
        if self.rng.bool() {
            let (mut at, every) = (Duration::ZERO, Duration::from_secs(self.rng.u64(5..60)));
            while at < end {
                let polls = self.polls();
                self.add(at, Action::HealthCheck { polls });
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

    /// How often a future is polled before it is dropped. Most are not.
    fn polls(&mut self) -> Option<u32> {
        (self.rng.u8(..4) == 0).then(|| self.rng.u32(1..6))
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
                    polls: self.polls(),
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
            let by = Duration::from_secs([60, 600, 86_400, 3 * 86_400][self.rng.usize(..4)]);
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

    fn down(&mut self) -> Duration {
        Duration::from_millis([0, 100, 2_000, 30_000][self.rng.usize(..4)])
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = |f: &mut fmt::Formatter<'_>, polls: Option<u32>| match polls {
            Some(polls) => write!(f, ", and drops the future after {polls} polls"),
            None => Ok(()),
        };
        match self {
            Self::Capture { events, make } => write!(f, "the service captures {events} × {make}"),
            Self::CaptureDurably { make, polls } => {
                write!(f, "the service captures {make} and waits for the disk")?;
                cut(f, *polls)
            }
            Self::Flush { polls } => {
                f.write_str("the service flushes")?;
                cut(f, *polls)
            }
            Self::HealthCheck { polls } => {
                f.write_str("the readiness probe asks")?;
                cut(f, *polls)
            }
            Self::ReplayDeadLetters => f.write_str("a person replays the dead letters"),
            Self::DiscardDeadLetters => f.write_str("a person discards the dead letters"),
            Self::Shutdown { deadline, polls, down } => {
                write!(f, "the service shuts down within {}", seconds(*deadline))?;
                cut(f, *polls)?;
                write!(f, "; the next process comes {} later", seconds(*down))
            }
            Self::Kill { at_write, down } => {
                f.write_str("the process is killed")?;
                match at_write {
                    Some(n) => write!(f, " in its {n}th write from now on")?,
                    None => f.write_str(" now")?,
                }
                write!(f, "; the next one comes {} later", seconds(*down))
            }
            Self::PowerLoss { down } => {
                write!(f, "the machine loses its power for {}", seconds(*down))
            }
            Self::RuntimeEnds { lives, down } => {
                let (lives, down) = (seconds(*lives), seconds(*down));
                write!(
                    f,
                    "the client's tasks end; the process ends {lives} later, and the next comes {down} later"
                )
            }
            Self::Neighbour { lives } => {
                write!(f, "a second process works in the same directory for {}", seconds(*lives))
            }
            Self::ClockJump { forward, by } => {
                let to = if *forward { "forward" } else { "back" };
                write!(f, "the wall clock jumps {to} by {}", seconds(*by))
            }
            Self::PostHog(Trouble { fault, share, lasts }) => {
                write!(f, "PostHog: {fault:?} for {share} % of the requests, for {}", seconds(*lasts))
            }
            Self::Disk(DiskTrouble { fault, lasts }) => {
                write!(f, "the disk: {fault:?}, for {}", seconds(*lasts))
            }
        }
    }
}

impl fmt::Display for Make {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, is_typed, size } = self;
        let class = if *is_typed { "typed event" } else { "event of the SDK's type" };
        match kind {
            EventKind::Good => write!(f, "{class} of {size} bytes"),
            kind => write!(f, "{class} of {size} bytes ({kind:?})"),
        }
    }
}

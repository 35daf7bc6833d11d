//! A plan is drawn from a seed. It has a configuration, a workload and a world, as a list of steps.

mod coincidences;
mod draw;
mod event;
mod fault;
mod print;

use std::time::Duration;

use super::config::Config;
pub use event::{EventKind, Make, Provokes};
pub use fault::{DiskFault, DiskTrouble, Fault, Trouble};

/// One history before it happens.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub config: Config,
    /// In the order of their times.
    pub steps: Vec<Step>,
    /// Nothing more is captured once the world is well.
    pub ends_quietly: bool,
}

#[derive(Clone, Debug)]
pub struct Step {
    /// Since the beginning.
    pub at: Duration,
    pub action: Action,
}

impl Step {
    fn is_bad_event(&self) -> bool {
        matches!(self.action, Action::Capture { make, .. } if make.kind.is_bad())
    }
}

/// The action of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The service captures events, one after the other.
    Capture {
        events: u32,
        make: Make,
    },
    /// The service captures one event and waits until it is on disk.
    CaptureDurably {
        make: Make,
        patience: Option<Patience>,
    },
    Flush {
        patience: Option<Patience>,
    },
    HealthCheck {
        patience: Option<Patience>,
    },
    ReplayDeadLetters,
    DiscardDeadLetters,
    /// An orderly end, and the next process after a while.
    Shutdown {
        deadline: Duration,
        patience: Option<Patience>,
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

/// When a caller drops a future that has not ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Patience {
    /// Right after so many polls.
    Polls(u32),
    Time(Duration),
}

impl Plan {
    /// When the world becomes well.
    pub fn end(&self) -> Duration {
        self.steps.last().map_or(Duration::ZERO, |step| step.at) + Duration::from_secs(1)
    }
}

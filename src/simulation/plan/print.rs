//! A plan in words.

use std::fmt;

use super::{Action, DiskTrouble, EventKind, Make, Patience, Plan, Step, Trouble};
use crate::simulation::words::seconds;

impl Plan {
    /// Prints the configuration, and the plan without its ordinary captures.
    pub fn print(&self) {
        println!("seed {}: {:?}", self.seed, self.config);
        for Step { at, action } in &self.steps {
            if !matches!(action, Action::Capture { .. }) {
                println!("{:>10}  planned: {action}", seconds(*at));
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = |f: &mut fmt::Formatter<'_>, patience: Option<Patience>| match patience {
            Some(Patience::Polls(polls)) => write!(f, ", and drops the future after {polls} polls"),
            Some(Patience::Time(time)) => write!(f, ", and drops the future after {}", seconds(time)),
            None => Ok(()),
        };
        match self {
            Self::Capture { events, make } => write!(f, "the service captures {events} × {make}"),
            Self::CaptureDurably { make, patience } => {
                write!(f, "the service captures {make} and waits for the disk")?;
                cut(f, *patience)
            }
            Self::Flush { patience } => {
                f.write_str("the service flushes")?;
                cut(f, *patience)
            }
            Self::HealthCheck { patience } => {
                f.write_str("the readiness probe asks")?;
                cut(f, *patience)
            }
            Self::ReplayDeadLetters => f.write_str("a person replays the dead letters"),
            Self::DiscardDeadLetters => f.write_str("a person discards the dead letters"),
            Self::Shutdown { deadline, patience, down } => {
                write!(f, "the service shuts down within {}", seconds(*deadline))?;
                cut(f, *patience)?;
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

use std::thread::JoinHandle;
use std::time::Instant;

pub type ThreadId = u64;
pub type ProcessId = u64;

/// What is known of a thread.
#[derive(Debug)]
pub struct Record {
    pub process: ProcessId,
    pub phase: Phase,
    pub thread: JoinHandle<()>,
}

/// What a thread does that has not the baton.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Ready,
    /// Until somebody notifies that address, if there is one, or until then.
    Waits {
        on: Option<usize>,
        until: Option<Instant>,
    },
    /// Until that thread has ended.
    Joins(ThreadId),
    Ended,
}

impl Record {
    pub fn is_ready(&self, now: Instant) -> bool {
        match self.phase {
            Phase::Ready => true,
            Phase::Waits { until, .. } => until.is_some_and(|until| until <= now),
            Phase::Joins(_) | Phase::Ended => false,
        }
    }

    pub fn until(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waits { until, .. } => until,
            _ => None,
        }
    }
}

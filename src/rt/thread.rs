//! Threads and their waits: the system's, or a simulation's.

#[cfg(feature = "spool")]
mod wake;

use std::io;
use std::thread::{Builder, JoinHandle};

use super::simulated;
#[cfg(feature = "spool")]
pub use wake::Wake;

/// A thread that was started.
#[derive(Debug)]
#[cfg_attr(not(feature = "spool"), allow(dead_code, reason = "only the spool's threads are joined"))]
pub enum Thread {
    System(JoinHandle<()>),
    Simulated(simulated::Thread),
}

/// Starts a thread whose log lines go where those of this thread go.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
    let (span, subscriber) = (tracing::Span::current(), tracing::dispatcher::get_default(Clone::clone));
    let work = move || tracing::dispatcher::with_default(&subscriber, || span.in_scope(work));
    match simulated::current() {
        Some(simulation) => simulation.spawn(name, work).map(Thread::Simulated),
        None => Builder::new().name(name.into()).spawn(work).map(Thread::System),
    }
}

#[cfg(feature = "spool")]
impl Thread {
    /// Waits for its end, which may be a panic.
    pub fn join(self) {
        match self {
            Self::System(thread) => drop(thread.join()),
            Self::Simulated(thread) => thread.join(),
        }
    }
}

//! A simulation: one seed, one history.
//!
//! [`run`] drives everything async on one runtime whose clock is paused, so time passes only when nothing is left to do.
//! The threads that the crate starts stay threads of the system, but they pass a **baton** ([`world`]): exactly one thread
//! runs at any time, either the runtime's or one of the simulated threads. A thread runs until it waits, sleeps or ends.
//! Then the seed decides which one runs next. No time passes while a thread runs.
//!
//! A simulation has no global state. Its threads know it by a thread-local that they inherit from the thread that starts
//! them, so several simulations can run in one program.
//!
//! # Constraints
//!
//! - A simulated thread holds no lock that others take while it [sleeps](sleep) or waits: whoever takes the lock would wait
//!   for real, with the baton.
//! - Nothing waits for another thread by other means than [`Wake`](super::thread::Wake) and
//!   [`Thread::join`](super::thread::Thread::join), for the same reason.

mod process;
mod record;
mod run;
#[cfg(test)]
mod tests;
mod thread;
mod world;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

pub use process::{Process, in_process};
use record::{ProcessId, ThreadId};
pub use run::{Simulation, run};
pub use thread::{Thread, sleep};
use world::World;

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// The place of this thread in its simulation.
#[derive(Clone, Debug)]
pub struct Current {
    world: Arc<World>,
    process: ProcessId,
    /// `None` for the runtime's thread.
    thread: Option<ThreadId>,
}

/// Returns this thread's place in a simulation, if it is in one.
pub fn current() -> Option<Current> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// Whether this thread is in a simulation.
pub fn is_on() -> bool {
    CURRENT.try_with(|current| current.borrow().is_some()).unwrap_or(false)
}

impl Current {
    pub fn now(&self) -> Instant {
        world::now()
    }

    pub fn wall(&self) -> SystemTime {
        self.world.wall()
    }

    /// Returns random bits. [`run`] and the start of a thread seed the generator.
    pub fn bits(&self) -> u128 {
        fastrand::u128(..)
    }

    /// Puts this thread there, until the result is dropped.
    fn enter(self) -> Entered {
        Entered(CURRENT.replace(Some(self)))
    }
}

/// Restores the place where the thread was before.
struct Entered(Option<Current>);

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        let _ = CURRENT.try_with(|current| current.replace(before));
    }
}

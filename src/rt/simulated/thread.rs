use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{Builder, panicking};
use std::time::Duration;

use tracing::Dispatch;
use tracing::dispatcher::set_default;

use super::record::{Phase, ThreadId};
use super::world::{self, World};
use super::{Current, current};

/// A thread that runs only while it has the baton.
#[derive(Debug)]
pub struct Thread {
    world: Arc<World>,
    id: ThreadId,
}

/// What a thread of a killed process unwinds with.
pub struct Killed;

/// Sleeps in simulated time, while tasks and other threads run. Each sleep passes the baton, even one of no time.
///
/// If the process is killed, the sleep ends at once, and the thread unwinds at its next wait. It does not unwind here: a
/// disk sleeps in the middle of redb, which does not expect that. Whoever sleeps in a loop must ask whether the process
/// was [killed](super::Process::is_killed).
///
/// On the runtime's thread and outside of a simulation, it returns at once.
pub fn sleep(time: Duration) {
    if let Some(here @ Current { thread: Some(_), .. }) = current()
        && !here.notices_kill()
    {
        here.pause(None, time);
        here.notices_kill();
    }
}

impl Current {
    pub fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
        let (world, process, seed) = (Arc::clone(&self.world), self.process, self.world.bits());
        let id = self.world.add_thread(process, |id| {
            let here = Current { world, process, thread: Some(id) };
            Builder::new().name(name.into()).spawn(move || here.run(id, seed, work))
        })?;
        Ok(Thread { world: Arc::clone(&self.world), id })
    }

    /// Runs the work of a new thread.
    fn run(self, id: ThreadId, seed: u64, work: impl FnOnce()) {
        let ends = Ends { world: Arc::clone(&self.world), id };
        // Dropped before the baton is given back.
        let (work, _runtime) = (work, ends.world.runtime.enter());
        let is_killed = || ends.world.is_killed(self.process);
        ends.world.begin(id);
        if !is_killed() {
            let _entered = self.clone().enter();
            fastrand::seed(seed);
            work();
        }
    }

    /// Waits until somebody notifies that address, at most so long. If the process is killed, the thread unwinds.
    pub fn wait(&self, address: usize, longest: Duration) {
        self.unwind_if_killed();
        self.pause(Some(address), longest);
        self.unwind_if_killed();
    }

    pub fn notify_one(&self, address: usize) {
        self.world.notify_one(address);
    }

    fn pause(&self, on: Option<usize>, longest: Duration) {
        if let Some(id) = self.thread {
            self.world.pause(id, Phase::Waits { on, until: world::now().checked_add(longest) });
        }
    }

    /// Whether the process was killed. The thread logs nothing from then on.
    fn notices_kill(&self) -> bool {
        let is_killed = self.world.is_killed(self.process);
        if is_killed {
            std::mem::forget(set_default(&Dispatch::none()));
        }
        is_killed
    }

    /// What is dropped by unwinding may wait too. Then the wait just ends.
    fn unwind_if_killed(&self) {
        if self.thread.is_some() && self.notices_kill() && !panicking() {
            resume_unwind(Box::new(Killed));
        }
    }
}

impl Thread {
    /// Waits for the end of the thread. The runtime's thread can do so only if nothing keeps the other from its end.
    pub fn join(self) {
        let Self { world, id } = self;
        match current().filter(|here| here.thread.is_some()) {
            Some(here) => here.join(id),
            None => {
                while !world.has_ended(id) {
                    assert!(
                        world.is_ready(id),
                        "the runtime's thread joins a thread that is not about to end"
                    );
                    world.pass(id);
                }
            }
        }
    }
}

impl Current {
    fn join(&self, other: ThreadId) {
        while let Some(id) = self.thread.filter(|_| !self.world.has_ended(other) && !panicking()) {
            self.unwind_if_killed();
            self.world.pause(id, Phase::Joins(other));
        }
        self.unwind_if_killed();
    }
}

/// Gives the baton back when the thread ends, even by a panic.
struct Ends {
    world: Arc<World>,
    id: ThreadId,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.world.ended(self.id);
    }
}

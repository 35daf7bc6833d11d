use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::panicking;
use std::time::{Duration, SystemTime};

use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep_until;

use super::world::{FIRST_PROCESS, Next, World};
use super::{Current, Entered, Process};

/// A simulation that runs.
#[derive(Debug)]
pub struct Simulation {
    world: Arc<World>,
}

/// Runs `work` in a simulation to its end, and then ends all threads that are left.
///
/// # Panics
///
/// When `work` or a thread panics.
pub fn run<T>(seed: u64, begins_at: SystemTime, work: impl AsyncFnOnce(&Simulation) -> T) -> T {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    #[expect(clippy::expect_used, reason = "a runtime without I/O asks the system for nothing")]
    let runtime = runtime.expect("a runtime");
    let world = {
        let _entered = runtime.enter();
        Arc::new(World::new(seed, begins_at, runtime.handle().clone()))
    };
    fastrand::seed(world.bits());
    let entered = Current { world: Arc::clone(&world), process: FIRST_PROCESS, thread: None }.enter();
    let run = Run { _ends: Ends(Arc::clone(&world)), runtime, _entered: entered };
    let result = run.runtime.block_on(async {
        tokio::spawn(pass_the_baton(Arc::clone(&world)));
        work(&Simulation { world }).await
    });
    drop(run);
    result
}

impl Simulation {
    /// Adds a process, in which nothing runs yet.
    pub fn process(&self) -> Process {
        Process::new(Arc::clone(&self.world))
    }

    /// Lets the clock on the wall jump. The monotonic time goes on.
    pub fn jump(&self, by: Duration, forward: bool) {
        self.world.jump(by, forward);
    }
}

/// Lets threads run in turn with the runtime's tasks.
async fn pass_the_baton(world: Arc<World>) {
    loop {
        match world.next() {
            Next::Pass(thread) => {
                world.pass(thread);
                if world.tasks_are_next() {
                    tokio::task::yield_now().await;
                }
            }
            Next::WaitUntil(Some(until)) => tokio::select! {
                biased;
                () = world.changed() => {}
                () = sleep_until(until.into()) => {}
            },
            Next::WaitUntil(None) => world.changed().await,
        }
    }
}

/// Ends in this order: the threads, then the tasks, and both while this thread is in the simulation. So what the tasks
/// drop cannot start a thread outside of it.
struct Run {
    _ends: Ends,
    runtime: Runtime,
    _entered: Entered,
}

struct Ends(Arc<World>);

impl Drop for Ends {
    fn drop(&mut self) {
        if let Some(payload) = self.0.end()
            && !panicking()
        {
            resume_unwind(payload);
        }
    }
}

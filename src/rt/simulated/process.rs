use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::record::ProcessId;
use super::world::World;
use super::{Current, current};

/// A simulated process: threads and tasks that end together.
///
/// A thread belongs to the process that its starter is in. So does a task that was started [so](in_process).
///
/// # Clone
///
/// Clones are the same process.
#[derive(Clone, Debug)]
pub struct Process {
    world: Arc<World>,
    id: ProcessId,
}

impl Process {
    pub(super) fn new(world: Arc<World>) -> Self {
        let id = world.add_process();
        Self { world, id }
    }

    /// Runs `work` in the process.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let thread = current().and_then(|here| here.thread);
        let _entered = Current { world: Arc::clone(&self.world), process: self.id, thread }.enter();
        work()
    }

    /// Kills the process: its tasks are driven no further, and its threads unwind where they wait.
    ///
    /// On the runtime's thread the threads have ended when this returns. A thread of the process itself runs on until it
    /// waits. Disks and networks must refuse the process from before this call on, because the threads run to their ends.
    pub fn kill(&self) {
        self.world.kill(self.id);
    }

    pub fn is_killed(&self) -> bool {
        self.world.is_killed(self.id)
    }

    /// Whether no thread of it is left.
    #[cfg(test)]
    pub fn is_over(&self) -> bool {
        !self.world.has_threads(self.id)
    }
}

/// Puts a task into the process of its starter. Once the process is killed, the future is dropped and never resolves.
/// Outside of a simulation it changes nothing.
pub fn in_process<F: Future>(future: F) -> InProcess<F> {
    let process = current().map(|Current { world, process: id, .. }| Process { world, id });
    InProcess { future: Some(future), process }
}

pin_project! {
    /// A future that is driven in a process.
    #[derive(Debug)]
    pub struct InProcess<F> {
        // `None` once it is ready or the process was killed.
        #[pin]
        future: Option<F>,
        process: Option<Process>,
    }
}

impl<F: Future> Future for InProcess<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let process = this.process.as_ref();
        let mut poll = || {
            if process.is_some_and(Process::is_killed) {
                this.future.set(None);
            }
            let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Pending };
            let result = ready!(future.poll(context));
            this.future.set(None);
            Poll::Ready(result)
        };
        match process {
            Some(process) => process.enter(poll),
            None => poll(),
        }
    }
}

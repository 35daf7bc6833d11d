use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::record::{Phase, ProcessId, Record, ThreadId};
use super::thread::Killed;
use crate::rt::lock;

/// What the threads of a simulation share: above all the baton.
#[derive(Debug)]
pub struct World {
    /// Only who has the baton locks it, so nobody waits for the lock.
    state: Mutex<State>,
    /// The thread that has the baton, or [`RUNTIME`].
    holder: AtomicU64,
    /// The runtime's thread.
    main: Thread,
    /// Wakes the task that passes the baton on.
    changed: Notify,
    /// Simulated threads enter it, so that they read its clock.
    pub runtime: Handle,
    started: Instant,
    begins_at: SystemTime,
}

#[derive(Debug)]
struct State {
    dice: Rng,
    threads: BTreeMap<ThreadId, Record>,
    last_thread: ThreadId,
    last_process: ProcessId,
    killed: BTreeSet<ProcessId>,
    is_over: bool,
    /// By how much the wall clock has jumped in each direction.
    ahead: Duration,
    behind: Duration,
    /// What a thread panicked with.
    panicked: Option<Box<dyn Any + Send>>,
}

/// What the task does next that passes the baton on.
pub enum Next {
    Pass(ThreadId),
    WaitUntil(Option<Instant>),
}

/// The process of all that no other process was entered for.
pub const FIRST_PROCESS: ProcessId = 0;

/// No simulated thread has this number.
const RUNTIME: ThreadId = 0;

impl World {
    /// In the runtime, whose clock is paused, and on its thread.
    pub fn new(seed: u64, begins_at: SystemTime, runtime: Handle) -> Self {
        let state = State {
            dice: Rng::with_seed(seed),
            threads: BTreeMap::new(),
            last_thread: RUNTIME,
            last_process: FIRST_PROCESS,
            killed: BTreeSet::new(),
            is_over: false,
            ahead: Duration::ZERO,
            behind: Duration::ZERO,
            panicked: None,
        };
        Self {
            state: Mutex::new(state),
            holder: AtomicU64::new(RUNTIME),
            main: thread::current(),
            changed: Notify::new(),
            runtime,
            started: now(),
            begins_at,
        }
    }

    pub fn bits(&self) -> u64 {
        lock(&self.state).dice.u64(..)
    }

    pub fn wall(&self) -> SystemTime {
        let state = lock(&self.state);
        let on = now().saturating_duration_since(self.started) + state.ahead;
        let wall = self.begins_at.checked_add(on).and_then(|wall| wall.checked_sub(state.behind));
        wall.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    pub fn jump(&self, by: Duration, forward: bool) {
        let mut state = lock(&self.state);
        let jumped = if forward { &mut state.ahead } else { &mut state.behind };
        *jumped = jumped.saturating_add(by);
    }

    pub fn add_process(&self) -> ProcessId {
        let mut state = lock(&self.state);
        state.last_process += 1;
        state.last_process
    }

    /// Ends a process. The runtime's thread waits until its threads have ended.
    pub fn kill(&self, process: ProcessId) {
        lock(&self.state).killed.insert(process);
        self.changed.notify_one();
        if self.has_baton(RUNTIME) {
            self.end_threads();
        }
    }

    /// Ends all processes, for good. Returns what a thread panicked with.
    pub fn end(&self) -> Option<Box<dyn Any + Send>> {
        lock(&self.state).is_over = true;
        self.end_threads();
        lock(&self.state).panicked.take()
    }

    pub fn is_killed(&self, process: ProcessId) -> bool {
        lock(&self.state).is_killed(process)
    }

    #[cfg(test)]
    pub fn has_threads(&self, process: ProcessId) -> bool {
        lock(&self.state).threads.values().any(|thread| thread.process == process)
    }

    /// Lets all threads of killed processes run to their end.
    fn end_threads(&self) {
        while let Some(id) = self.killed_thread() {
            self.pass(id);
        }
    }

    fn killed_thread(&self) -> Option<ThreadId> {
        lock(&self.state).killed_thread()
    }

    /// Adds a thread that waits for its first turn.
    pub fn add_thread(
        &self,
        process: ProcessId,
        start: impl FnOnce(ThreadId) -> std::io::Result<JoinHandle<()>>,
    ) -> std::io::Result<ThreadId> {
        let mut state = lock(&self.state);
        if state.is_killed(process) {
            return Err(std::io::Error::other("the process was killed"));
        }
        let id = state.last_thread + 1;
        let thread = start(id)?;
        state.last_thread = id;
        state.threads.insert(id, Record { process, phase: Phase::Ready, thread });
        drop(state);
        self.changed.notify_one();
        Ok(id)
    }

    /// Gives the baton back, and waits in that phase until it comes.
    pub fn pause(&self, id: ThreadId, phase: Phase) {
        if let Some(thread) = lock(&self.state).threads.get_mut(&id) {
            thread.phase = phase;
        }
        self.give(RUNTIME, &self.main);
        self.wait_for_baton(id);
    }

    /// Waits for the baton after the start.
    pub fn begin(&self, id: ThreadId) {
        self.wait_for_baton(id);
    }

    /// Gives the baton back for the last time.
    pub fn ended(&self, id: ThreadId) {
        let mut state = lock(&self.state);
        for thread in state.threads.values_mut() {
            if thread.phase == Phase::Joins(id) {
                thread.phase = Phase::Ready;
            }
        }
        if let Some(thread) = state.threads.get_mut(&id) {
            thread.phase = Phase::Ended;
        }
        drop(state);
        self.give(RUNTIME, &self.main);
    }

    /// Gives the baton to a thread, which must not be this one.
    fn give(&self, id: ThreadId, thread: &Thread) {
        self.holder.store(id, Ordering::Release);
        thread.unpark();
    }

    fn has_baton(&self, id: ThreadId) -> bool {
        self.holder.load(Ordering::Acquire) == id
    }

    fn wait_for_baton(&self, id: ThreadId) {
        while !self.has_baton(id) {
            thread::park();
        }
    }

    pub fn has_ended(&self, id: ThreadId) -> bool {
        lock(&self.state).threads.get(&id).is_none_or(|thread| thread.phase == Phase::Ended)
    }

    pub fn is_ready(&self, id: ThreadId) -> bool {
        lock(&self.state).threads.get(&id).is_some_and(|thread| thread.is_ready(now()))
    }

    pub fn notify_one(&self, address: usize) {
        let mut state = lock(&self.state);
        let waits =
            |thread: &&mut Record| matches!(thread.phase, Phase::Waits { on: Some(on), .. } if on == address);
        if let Some(thread) = state.threads.values_mut().find(waits) {
            thread.phase = Phase::Ready;
            self.changed.notify_one();
        }
    }

    /// Decides what is next, on the runtime's thread. Threads of killed processes come first.
    pub fn next(&self) -> Next {
        let (mut state, now) = (lock(&self.state), now());
        if let Some(killed) = state.killed_thread() {
            return Next::Pass(killed);
        }
        let ready = |(id, thread): (&ThreadId, &Record)| thread.is_ready(now).then_some(*id);
        let ready: Vec<_> = state.threads.iter().filter_map(ready).collect();
        if !ready.is_empty() {
            return Next::Pass(ready[state.dice.usize(..ready.len())]);
        }
        Next::WaitUntil(state.threads.values().filter_map(Record::until).min())
    }

    /// Passes the baton from the runtime's thread to that one, and waits until it comes back.
    pub fn pass(&self, id: ThreadId) {
        let thread = lock(&self.state).threads.get(&id).map(|record| record.thread.thread().clone());
        let Some(thread) = thread else { return };
        self.give(id, &thread);
        self.wait_for_baton(RUNTIME);
        let mut state = lock(&self.state);
        if state.threads.get(&id).is_none_or(|thread| thread.phase != Phase::Ended) {
            return;
        }
        let ended = state.threads.remove(&id);
        drop(state);
        // It has still to drop its thread-locals, and nothing else is to run meanwhile.
        if let Some(Err(payload)) = ended.map(|ended| ended.thread.join())
            && !payload.is::<Killed>()
        {
            lock(&self.state).panicked.get_or_insert(payload);
        }
    }

    /// Whether the tasks come before the next thread.
    pub fn tasks_are_next(&self) -> bool {
        lock(&self.state).dice.bool()
    }

    /// Resolves when a thread may have become ready.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl State {
    fn is_killed(&self, process: ProcessId) -> bool {
        self.is_over || self.killed.contains(&process)
    }

    fn killed_thread(&self) -> Option<ThreadId> {
        self.threads.iter().find(|(_, thread)| self.is_killed(thread.process)).map(|(id, _)| *id)
    }
}

/// The runtime's paused clock.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

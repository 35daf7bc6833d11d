use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use failsafe::{FailurePolicy, StateMachine};

/// failsafe's state machine. [`Policy`](super::policy::Policy) decides when it opens and for how long.
#[derive(Debug)]
pub struct Machine {
    machine: StateMachine<OpenTime, ()>,
    open_time: OpenTime,
}

impl Machine {
    /// A closed machine.
    pub fn new() -> Self {
        let open_time = OpenTime::default();
        Self { machine: StateMachine::new(open_time.clone(), ()), open_time }
    }

    /// Opens. It was closed or half open.
    pub fn open(&self, time: Duration) {
        self.open_time.replace(Some(time));
        self.machine.on_error();
    }

    /// Closes. It was half open.
    pub fn close(&self) {
        self.machine.on_success();
    }

    /// Whether calls may pass. An open machine becomes half open if its open time is over.
    pub fn may_probe(&self) -> bool {
        self.machine.is_call_permitted()
    }
}

/// Hands the open time to the machine, which owns its policy and gives no access to it. There is no contention, because
/// the breaker's lock is held whenever this one is taken.
#[derive(Clone, Debug, Default)]
struct OpenTime(Arc<Mutex<Option<Duration>>>);

impl OpenTime {
    fn replace(&self, time: Option<Duration>) -> Option<Duration> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), time)
    }
}

impl FailurePolicy for OpenTime {
    fn record_success(&mut self) {}

    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        self.replace(None)
    }

    fn revived(&mut self) {}
}

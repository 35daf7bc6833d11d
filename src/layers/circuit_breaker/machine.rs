use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use failsafe::{FailurePolicy, StateMachine};

use crate::rt::{clock, simulated};

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
        at(Duration::ZERO, || self.machine.on_error());
    }

    /// Closes. It was half open.
    pub fn close(&self) {
        self.machine.on_success();
    }

    /// Closes, whatever it was.
    pub fn reset(&self) {
        self.machine.reset();
    }

    /// Whether calls may pass. An open machine becomes half open if its open time is over.
    pub fn may_probe(&self) -> bool {
        // The machine wants more than the open time to have passed.
        at(Duration::from_nanos(1), || self.machine.is_call_permitted())
    }
}

/// Returns the time by the machine's clock, or a simulation's time.
#[inline]
pub fn now() -> Instant {
    if simulated::is_on() { clock::now() } else { failsafe::clock::now() }
}

/// Calls the machine. In a simulation, the machine's clock shows the simulation's time, that much later.
fn at<T>(later: Duration, call: impl FnOnce() -> T) -> T {
    /// The machine's clock can only be put forward, and begins at the time of the system's.
    const AHEAD: Duration = Duration::from_secs(24 * 3600);

    if !simulated::is_on() {
        return call();
    }
    failsafe::clock::freeze(|machine| {
        machine.advance((clock::now() + AHEAD + later).saturating_duration_since(machine.now()));
        call()
    })
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

#[cfg(all(test, feature = "simulation"))]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn in_a_simulation_the_open_time_is_simulated() {
        simulated::run(1, SystemTime::UNIX_EPOCH, async |_| {
            let (machine, hour) = (Machine::new(), Duration::from_secs(3600));
            for _ in 0..100 {
                assert!(machine.may_probe());
                machine.open(hour);
                tokio::time::sleep(hour - Duration::from_millis(1)).await;
                assert!(!machine.may_probe());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
}

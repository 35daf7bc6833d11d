use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::rt::{lock, simulated};

/// Wakes a thread that waits for a change of what a mutex guards.
#[derive(Debug, Default)]
pub struct Wake(Condvar);

impl Wake {
    /// Releases the mutex, waits, and locks it again. The wait ends when somebody notifies, at the latest after `longest`,
    /// and sometimes for no reason.
    pub fn wait<'a, T>(
        &self,
        mutex: &'a Mutex<T>,
        guard: MutexGuard<'a, T>,
        longest: Duration,
    ) -> MutexGuard<'a, T> {
        match simulated::current() {
            Some(simulation) => {
                // Nobody can notify in between, because no other thread runs.
                drop(guard);
                simulation.wait(self.address(), longest);
                lock(mutex)
            }
            None => self.0.wait_timeout(guard, longest).unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    pub fn notify_one(&self) {
        match simulated::current() {
            Some(simulation) => simulation.notify_one(self.address()),
            None => self.0.notify_one(),
        }
    }

    /// Tells it from others while somebody waits, because the wait borrows it.
    fn address(&self) -> usize {
        (&raw const *self).addr()
    }
}

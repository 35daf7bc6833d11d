//! The time: the system's, or a simulation's.

use std::time::{Instant, SystemTime};

use super::simulated;

/// Returns the time that only goes on.
#[inline]
pub fn now() -> Instant {
    simulated::current().map_or_else(Instant::now, |simulation| simulation.now())
}

/// Returns the time on the wall, which may jump.
#[inline]
pub fn wall() -> SystemTime {
    simulated::current().map_or_else(SystemTime::now, |simulation| simulation.wall())
}

//! The time: the system's, or a simulation's.

use std::time::{Duration, Instant, SystemTime};

use super::simulated;

/// Longer than any process lives, and short enough for an [`Instant`] to represent.
pub const FOREVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

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

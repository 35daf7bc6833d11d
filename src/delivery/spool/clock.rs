use std::time::{Duration, Instant, SystemTime};

use super::record::millis;

/// A clock that begins with some time and goes on by itself, so that no jump of the system's clock affects it.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    /// In milliseconds since 1970.
    base: u64,
    since: Instant,
}

impl SteadyClock {
    pub fn new(base: SystemTime, since: Instant) -> Self {
        Self { base: millis(base), since }
    }

    /// Returns the time in milliseconds since 1970.
    pub fn millis(&self, now: Instant) -> u64 {
        self.base + now.saturating_duration_since(self.since).as_millis() as u64
    }
}

/// The spool's own clock, by which events age.
///
/// The system's clock may jump: a machine without a battery boots years ago, and is set when the network is up. What was
/// captured before that is not years old. So this clock begins with the system's time and goes on by itself; it never runs
/// ahead of the system's. Each write leaves its time in the file, so that the next process can tell a jump from a pause.
///
/// An event in memory has its time by the clock of its process, because this clock may begin anew while events wait.
#[derive(Debug)]
pub struct Clock(SteadyClock);

/// A longer time between two processes is no time, but a jump.
const LONGEST_PAUSE: Duration = Duration::from_secs(365 * 24 * 3600);

impl Clock {
    /// Goes on from the last write to a file, in milliseconds since 1970, or begins anew with one that holds no events.
    pub fn after(last_write: Option<u64>, system: SystemTime, now: Instant) -> Self {
        let jumped = last_write.filter(|last| jump(*last, system) > 0);
        let base = jumped.map_or(system, |last| SystemTime::UNIX_EPOCH + Duration::from_millis(last));
        Self(SteadyClock::new(base, now))
    }

    pub fn now(&self, system: SystemTime, now: Instant) -> SystemTime {
        system.min(SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.millis(now)))
    }

    /// Returns by how many milliseconds this clock is ahead of the clock of the process, for the times of events. The system's
    /// clock may be set back for a moment, and what was captured then is not old afterwards.
    pub fn ahead_of(&self, process: SteadyClock, now: Instant) -> i64 {
        self.0.millis(now).wrapping_sub(process.millis(now)).cast_signed()
    }
}

/// By how many milliseconds a clock jumped after that write, if it did.
pub fn jump(last_write: u64, now: SystemTime) -> u64 {
    let pause = millis(now).saturating_sub(last_write);
    if last_write > 0 && Duration::from_millis(pause) > LONGEST_PAUSE { pause } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600 * 1000;
    const YEAR: u64 = 365 * DAY;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn the_clock_ignores_a_jump_of_the_systems_and_keeps_its_own_pace() {
        let start = Instant::now();
        let clock = Clock::after(None, at(3 * YEAR), start);
        let hour = Duration::from_secs(3600);
        assert_eq!(clock.now(at(3 * YEAR) + hour, start + hour), at(3 * YEAR) + hour);
        assert_eq!(clock.now(at(56 * YEAR), start + 2 * hour), at(3 * YEAR) + 2 * hour);
        // Set back: nothing gets older by that.
        assert_eq!(clock.now(at(2 * YEAR), start + 3 * hour), at(2 * YEAR));
    }

    #[test]
    fn what_is_captured_while_the_systems_clock_is_set_back_is_as_new_as_the_rest() {
        let start = Instant::now();
        let (clock, process) =
            (Clock::after(None, at(3 * YEAR), start), SteadyClock::new(at(9 * YEAR), start));
        let later = start + Duration::from_secs(60);
        assert_eq!(clock.now(at(2 * YEAR), later), at(2 * YEAR));
        assert_eq!(clock.ahead_of(process, later), -(6 * YEAR as i64));
    }

    #[test]
    fn a_pause_between_two_processes_counts_unless_it_is_a_jump() {
        let start = Instant::now();
        let begins = |last, system| millis(Clock::after(last, at(system), start).now(at(system), start));
        assert_eq!(begins(Some(50 * YEAR), 50 * YEAR + 30 * DAY), 50 * YEAR + 30 * DAY);
        assert_eq!(begins(Some(3 * YEAR), 56 * YEAR), 3 * YEAR);
        assert_eq!(begins(Some(56 * YEAR), 3 * YEAR), 3 * YEAR);
        assert_eq!(begins(None, 56 * YEAR), 56 * YEAR);
        assert_eq!(begins(Some(0), 56 * YEAR), 56 * YEAR, "an earlier version left no time");
    }
}

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How the spool's bytes changed over the last minute.
#[derive(Debug, Default)]
pub struct Growth(VecDeque<(Instant, u64)>);

const SAMPLE_EVERY: Duration = Duration::from_secs(5);
const WINDOW: Duration = Duration::from_secs(60);

impl Growth {
    pub fn sample(&mut self, now: Instant, bytes: u64) {
        let is_due = self.0.back().is_none_or(|(at, _)| now.duration_since(*at) >= SAMPLE_EVERY);
        if is_due {
            self.0.push_back((now, bytes));
            self.0.retain(|(at, _)| now.duration_since(*at) <= WINDOW);
        }
    }

    /// Time until `capacity` is reached at the rate since the oldest sample. `None` without growth.
    pub fn full_in(&self, now: Instant, bytes: u64, capacity: u64) -> Option<Duration> {
        let (since, then) = *self.0.front()?;
        let elapsed = now.checked_duration_since(since).filter(|elapsed| *elapsed >= SAMPLE_EVERY)?;
        let grown = bytes.checked_sub(then).filter(|grown| *grown > 0)?;
        let left = capacity.saturating_sub(bytes) as f64;
        Duration::try_from_secs_f64(elapsed.as_secs_f64() * left / grown as f64).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_until_full_follows_the_last_minute() {
        let start = Instant::now();
        let second = |n: u64| start + Duration::from_secs(n);
        let mut growth = Growth::default();
        assert_eq!(growth.full_in(second(0), 0, 1_000), None);
        (0..=60).for_each(|n| growth.sample(second(n), n));
        assert_eq!(growth.full_in(second(60), 60, 1_000), Some(Duration::from_secs(940)));
        (61..=200).for_each(|n| growth.sample(second(n), 60));
        assert_eq!(growth.full_in(second(200), 60, 1_000), None, "it has stopped growing");
        (201..=300).for_each(|n| growth.sample(second(n), 60 + 10 * (n - 200)));
        assert_eq!(growth.full_in(second(300), 1_060, 1_000), Some(Duration::ZERO));
        assert_eq!(growth.full_in(second(300), 10, 1_000), None, "it drains");
    }
}

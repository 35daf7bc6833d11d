use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The latest results, oldest out first. A result counts for a time. Recording costs the same at any size: each result enters
/// and leaves once.
///
/// Reading the clock costs more than everything else here, so successes share a reading: they are as old as the failure
/// after them, or as the last of [`RUN`] successes.
#[derive(Debug)]
pub struct Window {
    runs: VecDeque<Run>,
    /// Successes since the last run. Their run begins to age when it ends.
    fresh: u32,
    size: u32,
    time: Duration,
    len: u32,
    failed: u32,
}

/// Successes in a row that share one reading of the clock.
const RUN: u32 = 16;

/// Results that are equally old.
#[derive(Debug)]
struct Run {
    at: Instant,
    len: u32,
    /// The last result is a failure. The others are successes.
    fails: bool,
}

impl Window {
    pub fn new(size: u32, time: Duration) -> Self {
        Self { runs: VecDeque::with_capacity(size as usize), fresh: 0, size, time, len: 0, failed: 0 }
    }

    /// Asks for the time only if a run ends.
    pub fn record(&mut self, failed: bool, now: impl FnOnce() -> Instant) {
        if self.is_spotless() {
            // Successes that would have changed nothing were not recorded: the latest are fresh.
            self.runs.clear();
            self.fresh = self.len;
        }
        if self.len == self.size {
            self.pop();
        }
        self.len += 1;
        self.fresh += 1;
        if failed || self.fresh >= RUN {
            let at = now();
            self.forget(at);
            self.runs.push_back(Run { at, len: self.fresh, fails: failed });
            self.failed += u32::from(failed);
            self.fresh = 0;
        }
    }

    /// Forgets results that are too old.
    pub fn forget(&mut self, now: Instant) {
        while let Some(run) = self.runs.front() {
            if now.saturating_duration_since(run.at) < self.time {
                return;
            }
            self.len -= run.len;
            self.failed -= u32::from(run.fails);
            self.runs.pop_front();
        }
    }

    fn pop(&mut self) {
        self.len -= 1;
        match self.runs.front_mut() {
            Some(run) if run.len > 1 => run.len -= 1,
            Some(run) => {
                self.failed -= u32::from(run.fails);
                self.runs.pop_front();
            }
            None => self.fresh -= 1,
        }
    }

    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether the window is full of successes, so that one more changes nothing.
    pub fn is_spotless(&self) -> bool {
        self.len == self.size && self.failed == 0
    }

    pub fn failure_rate(&self) -> f64 {
        if self.len == 0 { 0.0 } else { f64::from(self.failed) / f64::from(self.len) }
    }

    pub fn clear(&mut self) {
        self.runs.clear();
        (self.fresh, self.len, self.failed) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_thousand_old_successes_do_not_hide_ten_new_failures() {
        let (mut window, now) = (Window::new(20, MINUTE), Instant::now());
        for _ in 0..1000 {
            window.record(false, || now);
        }
        for _ in 0..10 {
            window.record(true, || now);
        }
        assert_eq!(window.failure_rate(), 0.5);
    }

    #[test]
    fn successes_that_were_not_recorded_keep_a_spotless_window_fresh() {
        let (mut window, now) = (Window::new(4, MINUTE), Instant::now());
        (0..4).for_each(|_| window.record(false, || now));
        window.record(true, || now + 100 * MINUTE);
        assert_eq!((window.len(), window.failure_rate()), (4, 0.25));
        window.record(true, || now + 101 * MINUTE);
        assert_eq!((window.len(), window.failure_rate()), (1, 1.0));
    }

    #[test]
    fn a_success_is_as_old_as_the_failure_after_it() {
        let (mut window, now) = (Window::new(10, MINUTE), Instant::now());
        window.record(true, || now);
        window.record(false, || unreachable!("a success need not know the time"));
        window.record(true, || now + MINUTE / 2);
        window.forget(now + MINUTE);
        assert_eq!((window.len(), window.failure_rate()), (2, 0.5), "the first failure is too old");
        window.forget(now + 3 * MINUTE / 2);
        assert_eq!(window.len(), 0);
    }

    /// A window of time, with room for more results than it brings: old successes are gone when the first failure comes.
    #[test]
    fn successes_grow_old_without_a_failure() {
        let (mut window, now) = (Window::new(100_000, MINUTE), Instant::now());
        for second in 0..3600 {
            window.record(false, || now + Duration::from_secs(second));
        }
        window.record(true, || now + Duration::from_secs(3600));
        assert!((60..60 + 16).contains(&window.len()), "{}", window.len());
    }

    proptest! {
        #[test]
        fn agrees_with_a_list_of_the_results_that_count(
            size in 1u32..60,
            results in prop::collection::vec((0u8..4, 0u8..20, 0u64..30), 0..200),
        ) {
            let mut window = Window::new(size, MINUTE);
            // With the times of those that are not fresh.
            let mut model: Vec<(Option<Instant>, bool)> = Vec::new();
            let mut now = Instant::now();
            for (failed, clear, later) in results {
                let failed = failed == 0;
                now += Duration::from_secs(later);
                if clear == 0 {
                    window.clear();
                    model.clear();
                }
                if model.len() == size as usize && model.iter().all(|(_, failed)| !failed) {
                    model.iter_mut().for_each(|(at, _)| *at = None);
                }
                window.record(failed, || now);
                model.push((None, failed));
                if model.len() > size as usize {
                    model.remove(0);
                }
                if failed || model.iter().filter(|(at, _)| at.is_none()).count() >= RUN as usize {
                    model.iter_mut().for_each(|(at, _)| _ = at.get_or_insert(now));
                    model.retain(|(at, _)| at.is_none_or(|at| now - at < MINUTE));
                }
                let share = |n: usize| n as f64 / model.len() as f64;
                prop_assert_eq!(window.len() as usize, model.len());
                let is_full = model.len() == size as usize;
                prop_assert_eq!(window.is_spotless(), is_full && model.iter().all(|(_, failed)| !failed));
                prop_assert_eq!(window.failure_rate(), share(model.iter().filter(|(_, failed)| *failed).count()));
            }
        }
    }
}

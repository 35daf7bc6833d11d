use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The latest results, whether each is a failure, oldest out first. A result counts for a time. Recording costs the same
/// at any size: each result enters and leaves once.
#[derive(Debug)]
pub struct Window {
    results: VecDeque<(Instant, bool)>,
    size: usize,
    time: Duration,
    failed: usize,
    /// No result is older than that. Successes that would have changed nothing were not recorded.
    fresh: Option<Instant>,
}

impl Window {
    pub fn new(size: u32, time: Duration) -> Self {
        let size = size as usize;
        Self { results: VecDeque::with_capacity(size), size, time, failed: 0, fresh: None }
    }

    pub fn record(&mut self, failed: bool, now: Instant) {
        if self.is_spotless() {
            self.fresh = Some(now);
        }
        self.forget(now);
        if self.results.len() == self.size {
            self.pop();
        }
        self.results.push_back((now, failed));
        self.failed += usize::from(failed);
    }

    /// Forgets results that are too old.
    pub fn forget(&mut self, now: Instant) {
        while let Some((at, _)) = self.results.front() {
            let at = self.fresh.map_or(*at, |fresh| fresh.max(*at));
            if now.saturating_duration_since(at) < self.time {
                return;
            }
            self.pop();
        }
    }

    fn pop(&mut self) {
        let failed = self.results.pop_front().is_some_and(|(_, failed)| failed);
        self.failed -= usize::from(failed);
    }

    pub fn len(&self) -> usize {
        self.results.len()
    }

    /// Whether the window is full of successes, so that one more changes nothing.
    pub fn is_spotless(&self) -> bool {
        self.results.len() == self.size && self.failed == 0
    }

    pub fn failure_rate(&self) -> f64 {
        if self.results.is_empty() { 0.0 } else { self.failed as f64 / self.results.len() as f64 }
    }

    pub fn clear(&mut self) {
        self.results.clear();
        (self.failed, self.fresh) = (0, None);
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
            window.record(false, now);
        }
        for _ in 0..10 {
            window.record(true, now);
        }
        assert_eq!(window.failure_rate(), 0.5);
    }

    #[test]
    fn successes_that_were_not_recorded_keep_a_spotless_window_fresh() {
        let (mut window, now) = (Window::new(4, MINUTE), Instant::now());
        (0..4).for_each(|_| window.record(false, now));
        window.record(true, now + 100 * MINUTE);
        assert_eq!((window.len(), window.failure_rate()), (4, 0.25));
        window.record(true, now + 101 * MINUTE);
        assert_eq!((window.len(), window.failure_rate()), (1, 1.0));
    }

    proptest! {
        #[test]
        fn agrees_with_a_list_of_the_results_that_count(
            size in 1u32..20,
            results in prop::collection::vec((any::<bool>(), 0u8..20, 0u64..30), 0..200),
        ) {
            let mut window = Window::new(size, MINUTE);
            let (mut model, mut now) = (Vec::new(), Instant::now());
            for (failed, clear, later) in results {
                now += Duration::from_secs(later);
                if clear == 0 {
                    window.clear();
                    model.clear();
                }
                if model.len() == size as usize && model.iter().all(|(_, failed)| !failed) {
                    model.iter_mut().for_each(|(at, _)| *at = now);
                }
                window.record(failed, now);
                model.push((now, failed));
                model.retain(|(at, _)| now - *at < MINUTE);
                if model.len() > size as usize {
                    model.remove(0);
                }
                let share = |n: usize| n as f64 / model.len() as f64;
                prop_assert_eq!(window.len(), model.len());
                let is_full = model.len() == size as usize;
                prop_assert_eq!(window.is_spotless(), is_full && model.iter().all(|(_, failed)| !failed));
                prop_assert_eq!(window.failure_rate(), share(model.iter().filter(|(_, failed)| *failed).count()));
            }
        }
    }
}

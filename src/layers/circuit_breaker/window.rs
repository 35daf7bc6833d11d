/// The latest calls, whether each failed, oldest out first. Recording and reading cost the same at any size.
#[derive(Debug)]
pub struct Window {
    calls: Box<[bool]>,
    next: usize,
    len: usize,
    failed: usize,
}

impl Window {
    pub fn new(size: u32) -> Self {
        Self { calls: vec![false; size as usize].into(), next: 0, len: 0, failed: 0 }
    }

    pub fn record(&mut self, failed: bool) {
        let oldest = std::mem::replace(&mut self.calls[self.next], failed);
        if self.len == self.calls.len() {
            self.failed -= usize::from(oldest);
        } else {
            self.len += 1;
        }
        self.failed += usize::from(failed);
        self.next = if self.next + 1 == self.calls.len() { 0 } else { self.next + 1 };
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the window is full of successes, so that one more changes nothing.
    pub fn is_spotless(&self) -> bool {
        self.len == self.calls.len() && self.failed == 0
    }

    pub fn failure_rate(&self) -> f64 {
        if self.len == 0 { 0.0 } else { self.failed as f64 / self.len as f64 }
    }

    pub fn clear(&mut self) {
        (self.next, self.len, self.failed) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_thousand_old_successes_do_not_hide_ten_new_failures() {
        let mut window = Window::new(20);
        for _ in 0..1000 {
            window.record(false);
        }
        for _ in 0..10 {
            window.record(true);
        }
        assert_eq!(window.failure_rate(), 0.5);
    }

    proptest! {
        #[test]
        fn agrees_with_a_queue_of_the_last_calls(
            size in 1u32..20,
            calls in prop::collection::vec((any::<bool>(), 0u8..20), 0..200),
        ) {
            let mut window = Window::new(size);
            let mut model = VecDeque::new();
            for (failed, clear) in calls {
                if clear == 0 {
                    window.clear();
                    model.clear();
                }
                window.record(failed);
                model.push_back(failed);
                if model.len() > size as usize {
                    model.pop_front();
                }
                let share = |n: usize| n as f64 / model.len() as f64;
                prop_assert_eq!(window.len(), model.len());
                let is_full = model.len() == size as usize;
                prop_assert_eq!(window.is_spotless(), is_full && model.iter().all(|failed| !failed));
                prop_assert_eq!(window.failure_rate(), share(model.iter().filter(|failed| **failed).count()));
            }
        }
    }
}

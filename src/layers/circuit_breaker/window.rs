/// What one call in the window was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

impl Call {
    /// Neither failed nor slow.
    pub(super) const GOOD: Self = Self { failed: false, slow: false };
}

/// The latest calls, oldest out first. Recording and reading cost the same at any size.
#[derive(Debug)]
pub(super) struct Window {
    calls: Box<[Call]>,
    next: usize,
    len: usize,
    failed: usize,
    slow: usize,
}

impl Window {
    pub(super) fn new(size: u32) -> Self {
        Self { calls: vec![Call::GOOD; size as usize].into(), next: 0, len: 0, failed: 0, slow: 0 }
    }

    pub(super) fn record(&mut self, call: Call) {
        let oldest = std::mem::replace(&mut self.calls[self.next], call);
        if self.len == self.calls.len() {
            self.failed -= usize::from(oldest.failed);
            self.slow -= usize::from(oldest.slow);
        } else {
            self.len += 1;
        }
        self.failed += usize::from(call.failed);
        self.slow += usize::from(call.slow);
        self.next = if self.next + 1 == self.calls.len() { 0 } else { self.next + 1 };
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Full, and all of it is good: one more good call changes nothing.
    pub(super) fn is_spotless(&self) -> bool {
        self.len == self.calls.len() && self.failed == 0 && self.slow == 0
    }

    pub(super) fn failure_rate(&self) -> f64 {
        self.rate(self.failed)
    }

    pub(super) fn slow_rate(&self) -> f64 {
        self.rate(self.slow)
    }

    pub(super) fn clear(&mut self) {
        (self.next, self.len, self.failed, self.slow) = (0, 0, 0, 0);
    }

    fn rate(&self, of: usize) -> f64 {
        if self.len == 0 { 0.0 } else { of as f64 / self.len as f64 }
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
            window.record(Call { failed: false, slow: false });
        }
        for _ in 0..10 {
            window.record(Call { failed: true, slow: false });
        }
        assert_eq!(window.failure_rate(), 0.5);
    }

    proptest! {
        #[test]
        fn agrees_with_a_queue_of_the_last_calls(
            size in 1u32..20,
            calls in prop::collection::vec((any::<bool>(), any::<bool>(), 0u8..20), 0..200),
        ) {
            let mut window = Window::new(size);
            let mut model = VecDeque::new();
            for (failed, slow, clear) in calls {
                if clear == 0 {
                    window.clear();
                    model.clear();
                }
                window.record(Call { failed, slow });
                model.push_back((failed, slow));
                if model.len() > size as usize {
                    model.pop_front();
                }
                let share = |n: usize| n as f64 / model.len() as f64;
                prop_assert_eq!(window.len(), model.len());
                let is_good = |call: &(bool, bool)| !call.0 && !call.1;
                prop_assert_eq!(window.is_spotless(), model.len() == size as usize && model.iter().all(is_good));
                prop_assert_eq!(window.failure_rate(), share(model.iter().filter(|c| c.0).count()));
                prop_assert_eq!(window.slow_rate(), share(model.iter().filter(|c| c.1).count()));
            }
        }
    }
}

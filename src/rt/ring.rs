use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How far back anything is kept.
pub const LONGEST_WINDOW: Duration = Duration::from_secs(600);

/// A sliding window of time slots of equal length. A slot in which nothing happened takes no memory.
#[derive(Debug)]
pub struct Ring<T> {
    epoch: Instant,
    slot: Duration,
    retained: u64,
    slots: VecDeque<(u64, T)>,
}

impl<T: Default> Ring<T> {
    /// Keeps the present slot, and the slots that began within `retention` before it.
    pub fn new(epoch: Instant, slot: Duration, retention: Duration) -> Self {
        Self { epoch, slot, retained: slots_in(retention, slot), slots: VecDeque::new() }
    }

    /// Returns the present slot. A time before the latest slot falls into the latest slot: callers read the clock before
    /// they take the lock, so times may arrive out of order.
    pub fn current(&mut self, now: Instant) -> &mut T {
        let latest = self.slots.back().map_or(0, |(index, _)| *index);
        let index = self.index(now).max(latest);
        if self.slots.is_empty() || index > latest {
            let oldest = index.saturating_sub(self.retained);
            while self.slots.front().is_some_and(|(index, _)| *index < oldest) {
                self.slots.pop_front();
            }
            self.slots.push_back((index, T::default()));
        }
        let last = self.slots.len() - 1;
        &mut self.slots[last].1
    }

    /// Returns the slots of the last `window`, including the whole slot in which the window begins.
    pub fn within(&self, now: Instant, window: Duration) -> impl Iterator<Item = &T> {
        let slots = window.as_nanos().div_ceil(self.slot.as_nanos().max(1));
        let since = self.index(now).saturating_sub(u64::try_from(slots).unwrap_or(u64::MAX));
        self.slots.iter().rev().take_while(move |(index, _)| *index >= since).map(|(_, slot)| slot)
    }

    /// Returns all slots that are kept.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().map(|(_, slot)| slot)
    }

    fn index(&self, at: Instant) -> u64 {
        slots_in(at.saturating_duration_since(self.epoch), self.slot)
    }
}

fn slots_in(time: Duration, slot: Duration) -> u64 {
    u64::try_from(time.as_nanos() / slot.as_nanos().max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sum(ring: &Ring<u32>, now: Instant, window: Duration) -> u32 {
        ring.within(now, window).sum()
    }

    #[test]
    fn a_window_excludes_older_events() {
        let start = Instant::now();
        let mut ring = Ring::new(start, SECOND, SECOND * 600);
        *ring.current(start) += 1;
        *ring.current(start + SECOND * 30) += 1;
        *ring.current(start + SECOND * 30 + SECOND / 2) += 0;
        assert_eq!(ring.slots.len(), 2, "events of the same second share a slot");
        assert_eq!(sum(&ring, start + SECOND * 60, SECOND * 60), 2);
        assert_eq!(sum(&ring, start + SECOND * 61, SECOND * 60), 1);
        assert_eq!(sum(&ring, start + SECOND * 91, SECOND * 60), 0);
        assert_eq!(sum(&ring, start + SECOND * 91, SECOND * 600), 2);
    }

    proptest! {
        /// A window counts every event in it and none that is more than two slots older, and the ring stays bounded.
        #[test]
        fn counts_like_a_list(gaps in prop::collection::vec(0u64..5_000, 1..300), millis in 1u64..90_000) {
            let start = Instant::now();
            let mut ring = Ring::<u32>::new(start, SECOND, SECOND * 100);
            let mut times = Vec::new();
            let mut now = start;
            for gap in gaps {
                now += Duration::from_millis(gap);
                *ring.current(now) += 1;
                times.push(now);
                let since = |window: Duration| times.iter().filter(|at| now - **at <= window).count() as u32;
                let window = Duration::from_millis(millis);
                let counted = sum(&ring, now, window);
                prop_assert!(counted >= since(window));
                prop_assert!(counted <= since(window + 2 * SECOND));
                prop_assert!(ring.slots.len() <= 101);
            }
        }
    }
}

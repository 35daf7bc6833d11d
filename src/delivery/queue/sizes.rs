/// How large events are that are not encoded yet.
///
/// To measure each would be most of what a capture costs. So an event counts as the mean of the latest that were
/// encoded. Measured are the first that waits, one in [`SAMPLE`], whoever comes after one that was far from the mean, and
/// all that a guess would leave no room for: what is refused was measured.
#[derive(Debug)]
pub(super) struct Sizes {
    mean: usize,
    is_far_off: bool,
}

/// What goes by unseen meanwhile is little more than a batch.
const SAMPLE: u64 = 128;

/// Events of one service mostly differ by less.
const FAR: usize = 4;

impl Default for Sizes {
    fn default() -> Self {
        Self { mean: 1_000, is_far_off: false }
    }
}

impl Sizes {
    pub(super) fn mean(&self) -> usize {
        self.mean
    }

    /// Whether the event of this number must be measured.
    pub(super) fn must_measure(&self, number: u64, is_first: bool) -> bool {
        is_first || self.is_far_off || number.is_multiple_of(SAMPLE)
    }

    pub(super) fn measured(&mut self, size: usize) {
        self.is_far_off = size / FAR > self.mean || self.mean / FAR > size;
    }

    /// Learns from what was encoded. What the past has taught weighs as much as a sample's events do.
    pub(super) fn encoded(&mut self, sizes: impl Iterator<Item = usize>) {
        let past = (self.mean * SAMPLE as usize, SAMPLE as usize);
        let (bytes, count) = sizes.fold(past, |(bytes, count), size| (bytes + size, count + 1));
        self.mean = bytes / count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What events of these sizes count as, and how many of them were measured.
    fn reckon(sizes: &mut Sizes, events: impl IntoIterator<Item = usize>) -> (usize, usize) {
        events.into_iter().enumerate().fold((0, 0), |(bytes, measured), (n, size)| {
            if sizes.must_measure(n as u64 + 1, n == 0) {
                sizes.measured(size);
                (bytes + size, measured + 1)
            } else {
                (bytes + sizes.mean(), measured)
            }
        })
    }

    fn learnt(size: usize) -> Sizes {
        let mut sizes = Sizes::default();
        (0..20).for_each(|_| sizes.encoded([size; 100].into_iter()));
        sizes
    }

    #[test]
    fn events_as_ever_are_hardly_measured() {
        let (bytes, measured) = reckon(&mut learnt(600), [610; 6_400]);
        assert!(measured <= 52, "{measured}");
        assert!((6_390 * 600..6_400 * 620).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_burst_of_large_ones_is_measured_until_the_mean_knows() {
        let mut sizes = learnt(600);
        assert_eq!(reckon(&mut sizes, [100_000; 100]), (10_000_000, 100));
        sizes.encoded([100_000; 100].into_iter());
        let (bytes, measured) = reckon(&mut sizes, [100_000; 100]);
        assert!(measured <= 2 && bytes > 10_000_000 / FAR, "{bytes}, {measured}");
    }

    #[test]
    fn large_ones_among_small_ones_are_found_within_a_sample() {
        let mut sizes = learnt(600);
        let unseen = (1..1_000).take_while(|n| !sizes.must_measure(*n, false)).count();
        assert_eq!(unseen, 127);
        sizes.measured(100_000);
        assert_eq!(reckon(&mut sizes, [100_000; 10]), (1_000_000, 10));
    }

    #[test]
    fn one_stray_large_one_hardly_makes_the_others_count_more() {
        let mut sizes = learnt(600);
        assert_eq!(reckon(&mut sizes, [1_000_000]), (1_000_000, 1));
        sizes.encoded([1_000_000].into_iter());
        assert!(sizes.mean() < 10_000);
        let (bytes, measured) = reckon(&mut sizes, [600; 100]);
        assert_eq!((bytes, measured), (60_000, 100), "far from the mean: each is measured");
        (0..20).for_each(|_| sizes.encoded([600; 100].into_iter()));
        assert!(reckon(&mut sizes, [600; 100]).1 <= 2);
    }
}

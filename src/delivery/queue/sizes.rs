/// How large events are that are not encoded yet.
///
/// To measure each would be most of what a capture costs. So an event counts as the mean of the latest that were
/// encoded; the first that waits and one in [`SAMPLE`] are measured, and all of them once one is found to be much
/// larger, until what is larger has found its way into the mean.
#[derive(Debug)]
pub(super) struct Sizes {
    mean: usize,
    measures_all: bool,
}

/// What goes by unseen meanwhile is little more than a batch.
const SAMPLE: u64 = 128;

/// Events of one service differ by less.
const MUCH_LARGER: usize = 4;

impl Default for Sizes {
    fn default() -> Self {
        Self { mean: 1_000, measures_all: false }
    }
}

impl Sizes {
    pub(super) fn mean(&self) -> usize {
        self.mean
    }

    /// Whether the event of this number must be measured.
    pub(super) fn must_measure(&self, number: u64, is_first: bool) -> bool {
        is_first || self.measures_all || number.is_multiple_of(SAMPLE)
    }

    pub(super) fn measured(&mut self, size: usize) {
        self.measures_all |= size / MUCH_LARGER > self.mean;
    }

    /// Learns from what was encoded.
    pub(super) fn encoded(&mut self, sizes: impl Iterator<Item = usize>) {
        let (bytes, count) = sizes.fold((self.mean, 1), |(bytes, count), size| (bytes + size, count + 1));
        self.mean = bytes / count;
        self.measures_all = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What so many events of a size count as, and how many of them were measured.
    fn reckon(sizes: &mut Sizes, events: usize, size: usize) -> (usize, usize) {
        (0..events).fold((0, 0), |(bytes, measured), n| {
            if sizes.must_measure(n as u64 + 1, n == 0) {
                sizes.measured(size);
                (bytes + size, measured + 1)
            } else {
                (bytes + sizes.mean(), measured)
            }
        })
    }

    #[test]
    fn events_as_ever_are_hardly_measured() {
        let mut sizes = Sizes::default();
        sizes.encoded([600; 100].into_iter());
        let (bytes, measured) = reckon(&mut sizes, 6_400, 610);
        assert!(measured <= 52, "{measured}");
        assert!((6_380 * 600..6_400 * 620).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_burst_of_large_ones_is_measured_until_the_mean_knows() {
        let mut sizes = Sizes::default();
        assert_eq!(reckon(&mut sizes, 100, 100_000), (10_000_000, 100));
        sizes.encoded([100_000; 100].into_iter());
        let (bytes, measured) = reckon(&mut sizes, 100, 100_000);
        assert!(measured <= 2 && bytes > 9_800_000, "{bytes}, {measured}");
    }

    #[test]
    fn large_ones_among_small_ones_are_found_within_a_batch() {
        let mut sizes = Sizes::default();
        reckon(&mut sizes, 10, 500);
        let unseen = (11..1_000).take_while(|n| !sizes.must_measure(*n, false)).count();
        sizes.measured(100_000);
        assert!(unseen < 128);
        assert_eq!(reckon(&mut sizes, 10, 100_000), (1_000_000, 10));
    }

    #[test]
    fn one_stray_large_one_makes_the_others_count_no_more() {
        let mut sizes = Sizes::default();
        sizes.measured(1_000_000);
        assert_eq!(reckon(&mut sizes, 100, 500), (50_000, 100));
    }
}

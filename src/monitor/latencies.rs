use std::time::Duration;

use hdrhistogram::Histogram;

/// A histogram of attempts' latencies, in milliseconds and precise to one percent. Allocated with the first attempt.
#[derive(Debug, Default)]
pub struct Latencies(Option<Histogram<u32>>);

impl Latencies {
    /// Returns the 99th percentile over all of these histograms, or `None` if they are empty.
    pub fn p99<'a>(slots: impl Iterator<Item = &'a Self>) -> Option<Duration> {
        let mut all = Self::empty()?;
        for Self(slot) in slots {
            slot.as_ref().map_or(Ok(()), |slot| all.add(slot)).ok()?;
        }
        (!all.is_empty()).then(|| Duration::from_millis(all.value_at_quantile(0.99)))
    }

    fn empty() -> Option<Histogram<u32>> {
        Histogram::new(2).ok()
    }

    pub fn record(&mut self, latency: Duration) {
        if self.0.is_none() {
            self.0 = Self::empty();
        }
        let ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        if let Some(histogram) = &mut self.0 {
            // The histogram grows with the largest value: the cap bounds its memory.
            let _ = histogram.record(ms.min(HOUR_MS));
        }
    }
}

/// The longest request timeout.
const HOUR_MS: u64 = 3_600_000;

use std::time::Duration;

use hdrhistogram::Histogram;

/// How long attempts took: in milliseconds, to one percent.
#[derive(Debug, Default)]
pub(super) struct Latencies(Option<Histogram<u32>>);

impl Latencies {
    /// The 99th percentile of all of them. `None` if there are none.
    pub(super) fn p99<'a>(slots: impl Iterator<Item = &'a Self>) -> Option<Duration> {
        let mut all = Self::empty()?;
        for Self(slot) in slots {
            slot.as_ref().map_or(Ok(()), |slot| all.add(slot)).ok()?;
        }
        (!all.is_empty()).then(|| Duration::from_millis(all.value_at_quantile(0.99)))
    }

    fn empty() -> Option<Histogram<u32>> {
        Histogram::new(2).ok()
    }

    pub(super) fn record(&mut self, latency: Duration) {
        if self.0.is_none() {
            self.0 = Self::empty();
        }
        let ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        if let Some(histogram) = &mut self.0 {
            // It grows to a value, and what no attempt can last is cut.
            let _ = histogram.record(ms.min(HOUR_MS));
        }
    }
}

/// The longest request timeout.
const HOUR_MS: u64 = 3_600_000;

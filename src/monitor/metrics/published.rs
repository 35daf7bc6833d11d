use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use metrics::{Label, counter, gauge};

use super::samples::Samples;
use crate::rt::lock;
use crate::rt::metrics::record;
use crate::rt::metrics::table::{Kind, Metric};

/// The values that one client has published, and to which recorder.
#[derive(Debug, Default)]
pub struct Published {
    recorder: usize,
    values: HashMap<Series, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Series {
    kind: Kind,
    name: &'static str,
    labels: Vec<Label>,
}

/// The sums of all clients' gauges, by recorder. Gauges are set with every sample, changed or not, since an exporter may
/// drop a series that is not updated.
static GAUGES: Mutex<BTreeMap<usize, HashMap<Series, u64>>> = Mutex::new(BTreeMap::new());

impl Published {
    /// Publishes the present values. A recorder that is new gets the counters from their beginning.
    pub fn update(&mut self, samples: Samples) {
        let recorder = recorder();
        if self.recorder != recorder {
            *self = Self { recorder, values: HashMap::new() };
        }
        for (series, value) in samples.0 {
            let before = self.values.get(&series).copied();
            match series.kind {
                // A damaged spool may reduce a count, and a counter must not fall.
                Kind::Counter if before.is_some_and(|before| value <= before) => continue,
                Kind::Counter => series.count(value - before.unwrap_or(0)),
                _ => series.set(recorder, before.unwrap_or(0), value),
            }
            self.values.insert(series, value);
        }
    }

    /// Subtracts this client's gauges from the sums: a client that has ended is in no state.
    pub fn withdraw(&mut self) {
        for (series, value) in self.values.drain().filter(|(series, _)| series.kind == Kind::Gauge) {
            series.set(self.recorder, value, 0);
        }
    }
}

/// Identifies the recorder by its address. The service may install one after it has built a client, and tests install
/// one for each thread.
fn recorder() -> usize {
    metrics::with_recorder(|recorder| std::ptr::from_ref(recorder).cast::<()>().addr())
}

impl Series {
    pub fn new(metric: &Metric, labels: &[(&'static str, &'static str)]) -> Self {
        let labels = labels.iter().map(|(key, value)| Label::from_static_parts(key, value)).collect();
        Self { kind: metric.kind, name: metric.name, labels }
    }

    fn count(&self, more: u64) {
        record(|| counter!(self.name, self.labels.clone()).increment(more));
    }

    /// Replaces this client's part (`before`) of the sum by `value`.
    fn set(&self, recorder: usize, before: u64, value: u64) {
        let mut gauges = lock(&GAUGES);
        let sums = gauges.entry(recorder).or_default();
        let others = sums.get(self).copied().unwrap_or(0).saturating_sub(before);
        let sum = others + value;
        if sums.get(self) != Some(&sum) {
            sums.insert(self.clone(), sum);
        }
        // The recorder is foreign code: no lock is held while it runs.
        drop(gauges);
        record(|| gauge!(self.name, self.labels.clone()).set(sum as f64));
    }
}

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{Key, Label, Level, Metadata, with_recorder};

use super::samples::Samples;
use crate::rt::lock;
use crate::rt::metrics::record;
use crate::rt::metrics::table::{Kind, Metric};

/// The values that one client has published, and to which recorder.
#[derive(Debug, Default)]
pub struct Published {
    recorder: usize,
    counters: HashMap<Series, u64>,
    gauges: HashMap<Series, Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Series {
    kind: Kind,
    key: Key,
}

/// This client's part of a gauge.
#[derive(Debug)]
struct Part {
    value: u64,
    sum: Arc<AtomicU64>,
}

type Sums = HashMap<Series, Arc<AtomicU64>>;

/// The sums of all clients' gauges, by recorder. Gauges are set with every sample, changed or not, since an exporter may
/// drop a series that is not updated. The lock is not held while a recorder runs, because that is foreign code.
static SUMS: Mutex<BTreeMap<usize, Sums>> = Mutex::new(BTreeMap::new());

/// The same as by the macros of the crate `metrics`.
static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

impl Published {
    /// Publishes the present values. A recorder that is new gets the counters from their beginning.
    pub fn update(&mut self, samples: Samples) {
        let recorder = recorder();
        if self.recorder != recorder {
            *self = Self { recorder, ..Self::default() };
        }
        for (series, value) in samples.0 {
            match series.kind {
                Kind::Counter => self.count(series, value),
                _ => self.set(series, value),
            }
        }
    }

    fn count(&mut self, series: Series, value: u64) {
        match self.counters.entry(series) {
            Entry::Occupied(mut before) => {
                // A damaged spool may reduce a count, and a counter must not fall.
                if value > *before.get() {
                    before.key().count(value - before.get());
                    before.insert(value);
                }
            }
            Entry::Vacant(new) => {
                new.key().count(value);
                new.insert(value);
            }
        }
    }

    fn set(&mut self, series: Series, value: u64) {
        let mut part = match self.gauges.entry(series) {
            Entry::Occupied(part) => part,
            Entry::Vacant(new) => {
                let part = Part { value: 0, sum: new.key().sum(self.recorder) };
                new.insert_entry(part)
            }
        };
        let sum = part.get_mut().replace(value);
        part.key().set(sum);
    }

    /// Subtracts this client's gauges from the sums: a client that has ended is in no state.
    pub fn withdraw(&mut self) {
        for (series, mut part) in self.gauges.drain() {
            series.set(part.replace(0));
        }
    }
}

impl Part {
    /// Replaces it in the sum, and returns that.
    fn replace(&mut self, value: u64) -> u64 {
        let change = value.wrapping_sub(self.value);
        self.value = value;
        self.sum.fetch_add(change, Ordering::Relaxed).wrapping_add(change)
    }
}

/// Identifies the recorder by its address. The service may install one after it has built a client, and tests install
/// one for each thread.
fn recorder() -> usize {
    with_recorder(|recorder| std::ptr::from_ref(recorder).cast::<()>().addr())
}

impl Series {
    pub fn new(metric: &Metric, labels: &[(&'static str, &'static str)]) -> Self {
        let labels: Vec<_> = labels.iter().map(|(key, value)| Label::from_static_parts(key, value)).collect();
        Self { kind: metric.kind, key: Key::from_parts(metric.name, labels) }
    }

    /// The sum of all clients.
    fn sum(&self, recorder: usize) -> Arc<AtomicU64> {
        Arc::clone(lock(&SUMS).entry(recorder).or_default().entry(self.clone()).or_default())
    }

    fn count(&self, more: u64) {
        record(|| with_recorder(|recorder| recorder.register_counter(&self.key, &METADATA).increment(more)));
    }

    fn set(&self, sum: u64) {
        record(|| with_recorder(|recorder| recorder.register_gauge(&self.key, &METADATA).set(sum as f64)));
    }
}

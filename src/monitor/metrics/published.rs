use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use metrics::{Label, counter, gauge};

use super::samples::Samples;
use super::table::{Kind, Metric};

/// What one client has shown, and to whom.
#[derive(Debug, Default)]
pub(in crate::monitor) struct Published {
    recorder: usize,
    values: HashMap<Series, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Series {
    kind: Kind,
    name: &'static str,
    labels: Vec<Label>,
}

/// The gauges of all clients together, by recorder. They are set, again and again, since an exporter may forget
/// those that do not change.
static GAUGES: Mutex<BTreeMap<usize, HashMap<Series, u64>>> = Mutex::new(BTreeMap::new());

impl Published {
    /// Shows the numbers as they are. A recorder that was not there before is shown all from the beginning.
    pub(in crate::monitor) fn update(&mut self, samples: Samples) {
        let recorder = recorder();
        if self.recorder != recorder {
            *self = Self { recorder, values: HashMap::new() };
        }
        for (series, value) in samples.0 {
            let before = self.values.get(&series).copied();
            match series.kind {
                // A damaged spool may take a count back; a counter stays.
                Kind::Counter if before.is_some_and(|before| value <= before) => continue,
                Kind::Counter => series.count(value - before.unwrap_or(0)),
                _ => series.set(recorder, before.unwrap_or(0), value),
            }
            self.values.insert(series, value);
        }
    }

    /// Takes the gauges back: what has ended is in no state.
    pub(in crate::monitor) fn withdraw(&mut self) {
        for (series, value) in self.values.drain().filter(|(series, _)| series.kind == Kind::Gauge) {
            series.set(self.recorder, value, 0);
        }
    }
}

/// Tells recorders apart: the service may install one after it has built a client, tests one for each thread.
fn recorder() -> usize {
    metrics::with_recorder(|recorder| std::ptr::from_ref(recorder).cast::<()>().addr())
}

impl Series {
    pub(super) fn new(metric: &Metric, labels: &[(&'static str, &'static str)]) -> Self {
        let labels = labels.iter().map(|(key, value)| Label::from_static_parts(key, value)).collect();
        Self { kind: metric.kind, name: metric.name, labels }
    }

    fn count(&self, more: u64) {
        counter!(self.name, self.labels.clone()).increment(more);
    }

    fn set(&self, recorder: usize, before: u64, value: u64) {
        let mut gauges = GAUGES.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = gauges.entry(recorder).or_default();
        let others = sums.get(self).copied().unwrap_or(0).saturating_sub(before);
        let sum = others + value;
        if sums.get(self) != Some(&sum) {
            sums.insert(self.clone(), sum);
        }
        drop(gauges);
        gauge!(self.name, self.labels.clone()).set(sum as f64);
    }
}

//! The crate's metrics: [`table`] has each one's name, unit and description; the functions record distributions.
//!
//! They are on the ground floor so that delivery can record a batch without knowing the monitor, which publishes all
//! counters and gauges. Labels are plain words for the same reason: their enums are defined above.

pub mod table;

use std::time::Duration;

use metrics::{counter, histogram};

use super::foreign;

/// Runs the service's recorder, which is foreign code: a panic costs what it was to record, and not the task that records.
pub fn record(recording: impl FnOnce()) {
    let _ = foreign::call(recording);
}

/// Describes all metrics to the recorder.
pub fn describe() {
    record(table::describe);
}

/// Records one attempt to reach a surface of PostHog.
pub fn attempt(surface: &'static str, latency: Duration) {
    record(|| histogram!(table::ATTEMPT_DURATION_SECONDS.name, "surface" => surface).record(latency));
}

/// Records the size of one batch that is about to be sent.
pub fn batch(events: usize, bytes: usize) {
    record(|| {
        histogram!(table::BATCH_EVENTS.name).record(events as f64);
        histogram!(table::BATCH_BYTES.name).record(bytes as f64);
    });
}

/// Records one health probe. The outcome is `ok` or the kind of the error.
pub fn probe(outcome: &'static str, latency: Duration) {
    record(|| {
        counter!(table::PROBES.name, "outcome" => outcome).increment(1);
        histogram!(table::PROBE_DURATION_SECONDS.name).record(latency);
    });
}

/// Shows the counter of this outcome at 0, before there was a probe.
pub fn probe_outcome(outcome: &'static str) {
    record(|| counter!(table::PROBES.name, "outcome" => outcome).increment(0));
}

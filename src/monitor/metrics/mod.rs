//! The numbers as metrics, for whatever recorder the service has installed.
//!
//! They are shown once a second, so that no path of an event waits for a recorder, and those of several clients in one
//! process add up. What a distribution needs is shown as it happens. [`table`] has each metric's name, [`samples`] its
//! value, and [`published`] what a recorder has been told of it.

mod published;
mod samples;
mod table;

use std::time::Duration;

use metrics::{counter, histogram};

use super::Surface;
use crate::ErrorKind;

pub(super) use published::Published;
pub(super) use samples::samples;

pub(super) fn describe() {
    table::describe();
    for outcome in probe_outcomes() {
        counter!(table::PROBES.name, "outcome" => outcome).increment(0);
    }
}

pub(super) fn attempt(surface: Surface, latency: Duration) {
    histogram!(table::ATTEMPT_DURATION_SECONDS.name, "surface" => surface.as_str()).record(latency);
}

pub(crate) fn batch(events: usize, bytes: usize) {
    histogram!(table::BATCH_EVENTS.name).record(events as f64);
    histogram!(table::BATCH_BYTES.name).record(bytes as f64);
}

pub(crate) fn probe(failure: Option<ErrorKind>, latency: Duration) {
    counter!(table::PROBES.name, "outcome" => failure.map_or("ok", ErrorKind::as_str)).increment(1);
    histogram!(table::PROBE_DURATION_SECONDS.name).record(latency);
}

fn probe_outcomes() -> impl Iterator<Item = &'static str> {
    std::iter::once("ok").chain(attempt_errors().map(ErrorKind::as_str))
}

/// What an attempt can meet: an open breaker makes none.
fn attempt_errors() -> impl Iterator<Item = ErrorKind> {
    ErrorKind::ALL.into_iter().filter(|kind| kind.is_attempt())
}

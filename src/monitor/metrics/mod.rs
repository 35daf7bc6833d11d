//! Publishes the monitor's numbers to whatever recorder the service has installed.
//!
//! Counters and gauges are published once a second, so that no path of an event waits for a recorder, and the numbers
//! of several clients in one process add up. Distributions are recorded as they happen ([`crate::rt::metrics`]).
//! [`samples`] reads the values, and [`published`] sends a recorder what has changed.

mod published;
mod samples;

pub use published::Published;
pub use samples::samples;

use crate::ErrorKind;
use crate::rt::metrics;

/// Describes all metrics, and shows the probe's counters at 0: all others are published by the first sample.
pub fn describe() {
    metrics::describe();
    metrics::probe_outcome("ok");
    attempt_errors().map(ErrorKind::as_str).for_each(metrics::probe_outcome);
}

/// The kinds of error that an attempt can end with: an open breaker makes no attempt.
fn attempt_errors() -> impl Iterator<Item = ErrorKind> {
    ErrorKind::ALL.into_iter().filter(|kind| kind.is_attempt())
}

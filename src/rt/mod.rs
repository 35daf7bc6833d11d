//! Small helpers at the bottom of the crate. They know nothing of PostHog and import no other module.

mod deadline;
pub mod detached_thread;
mod durations;
mod episode;
pub mod foreign;
#[cfg_attr(not(feature = "metrics"), path = "metrics/disabled.rs")]
pub mod metrics;
mod names;
pub mod single_flight;
pub mod target;
mod timestamp;

pub use deadline::within;
pub use durations::{millis, serialize_ms, serialize_optional_ms};
pub use episode::Episode;
pub(crate) use names::named;
pub use timestamp::{Timestamps, timestamp};

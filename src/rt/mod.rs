//! Small helpers at the bottom of the crate. They know nothing of PostHog and import no other module.

#[cfg(feature = "error-tracking")]
mod block;
pub mod clock;
mod deadline;
pub mod detached_thread;
mod durations;
mod episode;
pub mod foreign;
mod heartbeat;
mod lock;
#[cfg_attr(not(feature = "metrics"), path = "metrics/disabled.rs")]
pub mod metrics;
mod names;
pub mod ring;
mod setters;
#[cfg_attr(not(feature = "simulation"), path = "simulated/disabled.rs")]
pub mod simulated;
pub mod single_flight;
pub mod target;
pub mod thread;
mod timestamp;

/// The version of the SDK that this crate is built on. `Cargo.toml` has it, too.
pub const POSTHOG_RS: &str = "0.30";

#[cfg(feature = "error-tracking")]
pub use block::block_within;
pub use deadline::within;
pub use durations::{millis, serialize_ms, serialize_optional_ms};
pub use episode::Episode;
pub use heartbeat::Heartbeat;
pub use lock::lock;
pub(crate) use names::named;
pub(crate) use setters::setters;
pub use timestamp::{Timestamps, timestamp};

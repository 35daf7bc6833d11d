//! PostHog for services, production-grade by construction.

#![forbid(unsafe_code)]
// Here and not in Cargo.toml, since tests and examples may.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
mod config;
mod credentials;
mod delivery;
mod error;
mod health;
mod outcome;
mod transport;

pub mod layers;
#[cfg(feature = "testing")]
pub mod testing;

pub use posthog_rs;
pub use posthog_rs::{Event, RequestContext};

pub use client::{FlushTimeout, PostHog, ShutdownReport};
pub use config::PostHogBuilder;
pub use delivery::{DropReason, Drops, Ledger, Overflow, QueueFill};
pub use error::{ConfigError, Error, ErrorKind};
pub use health::{BreakerHealth, Connection, HealthReport, LastError, Reason, Status, Versions};
pub use outcome::{Accepted, Outcome};

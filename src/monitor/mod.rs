//! What is seen from outside: alerts, metrics, and the verdict on a rollout.
//!
//! [`watch`] sees each attempt and looks at queue, breaker, limiter and spool once a second. The rest is pure,
//! with the time passed in: [`ring`] keeps what happened lately, [`traffic`] what attempts showed, [`flow`] how
//! the ledger moves, [`rules`] says which alerts have a reason, [`board`] which fire, [`rollout`] whether a
//! rollout may go on. [`metrics`] shows the same numbers to a recorder.

#![cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "what only the metrics show"))]

mod alert;
mod board;
mod config;
mod flow;
#[cfg_attr(not(feature = "metrics"), path = "no_metrics.rs")]
pub(crate) mod metrics;
mod ring;
mod rollout;
mod rules;
#[cfg(test)]
mod tests;
mod traffic;
mod watch;

use std::time::Duration;

pub(crate) use alert::ms;
pub use alert::{Alert, AlertName, AlertTransition, Severity, Surface};
pub use config::AlertsConfig;
pub use rollout::{RolloutConfig, RolloutReason, RolloutVerdict};
pub(crate) use traffic::{Failure, Signs};
pub use watch::AlertTransitions;
pub(crate) use watch::{Monitor, Sources, Watch};

/// How far back anything is remembered.
const LONGEST_WINDOW: Duration = Duration::from_secs(600);

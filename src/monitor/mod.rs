//! What is seen from outside: alerts, metrics, and the verdict on a rollout.
//!
//! [`watch`] is shown each attempt, and [`looks`] looks at queue, breaker, limiter and spool once a second. The rest is
//! pure, with the time passed in: [`ring`] keeps what happened lately, [`traffic`] what attempts showed ([`signs`],
//! [`latencies`], and by its [`cause`] what went wrong), [`flow`] how the ledger moves, [`rules`] says which alerts have a
//! reason, [`board`] which fire, [`rollout`] whether a rollout may go on. [`transitions`] tells of alerts, and
//! [`metrics`] shows the same numbers to a recorder.

#![cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "what only the metrics show"))]

mod alert;
mod board;
mod cause;
mod config;
mod flow;
mod latencies;
mod looks;
#[cfg_attr(not(feature = "metrics"), path = "no_metrics.rs")]
pub(crate) mod metrics;
mod ring;
mod rollout;
mod rules;
mod signs;
#[cfg(test)]
mod tests;
mod traffic;
mod transitions;
mod watch;

use std::time::Duration;

pub use alert::{Alert, AlertName, AlertTransition, Severity, Surface};
pub use config::AlertsConfig;
pub(crate) use looks::{Monitor, Sources};
pub use rollout::{RolloutConfig, RolloutReason, RolloutVerdict};
pub(crate) use signs::{Failure, Signs};
pub use transitions::AlertTransitions;
pub(crate) use watch::Watch;

/// How far back anything is remembered.
const LONGEST_WINDOW: Duration = Duration::from_secs(600);

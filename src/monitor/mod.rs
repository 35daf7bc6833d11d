//! What the client observes about itself: alerts, metrics, and the verdict on a rollout.
//!
//! [`attempt_observer`] passes each attempt to the [`monitor`], which samples its [`sources`] (queue, breakers, limiter)
//! once a second. Everything else is pure and takes the time as an argument. [`ring`] keeps counts of the last
//! minutes; [`traffic`] records attempts ([`summary`], [`latencies`], and failures by [`cause`]) and [`throughput`]
//! records how the ledger moves. [`rules`] evaluates the alerts' conditions, [`firing`] holds the alerts that fire, and
//! [`rollout`] judges a rollout. [`transitions`] announces alerts, and [`metrics`] publishes the numbers to a recorder.

mod alert;
mod attempt_observer;
mod config;
mod firing;
mod latencies;
#[cfg_attr(not(feature = "metrics"), path = "metrics/disabled.rs")]
mod metrics;
#[allow(clippy::module_inception, reason = "named after the type in it, as the files beside it are")]
mod monitor;
mod rollout;
mod rules;
mod sources;
mod summary;
#[cfg(test)]
mod tests;
mod throughput;
mod traffic;
mod transitions;

pub use alert::{Alert, AlertName, AlertTransition, Severity, Surface};
pub use attempt_observer::AttemptObserver;
pub use config::AlertsConfig;
pub use monitor::Monitor;
pub use rollout::{RolloutConfig, RolloutReason, RolloutVerdict};
pub use rules::SPOOL_FULL_SOON;
pub use sources::Sources;
pub use summary::{Failure, Summary};
pub use transitions::AlertTransitions;

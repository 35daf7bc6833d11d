//! Health: `Healthy` or `Degraded` with reasons, never a third word.
//!
//! [`report`] is pure: it puts together what the monitor saw of the traffic, what the [`probe`] found, the
//! breaker, the queue and the ledger.

mod probe;
mod reason;
mod report;

#[cfg(feature = "preflight")]
pub(crate) use probe::ProbeRequest;
pub(crate) use probe::{Finding, Probe};
pub use reason::Reason;
pub use report::{BreakerHealth, Connection, HealthReport, LastError, Status, Versions};
pub(crate) use report::{Evidence, Life, report};

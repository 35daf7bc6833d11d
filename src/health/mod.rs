//! Health: `Healthy` or `Degraded` with reasons, never a third word.
//!
//! [`judge`] is pure: it makes the [`report`], with each [`reason`], of what the monitor saw of the traffic, what the
//! [`probe`] found, the breaker, the queue and the ledger.

mod judge;
mod probe;
mod reason;
mod report;

pub(crate) use judge::{Evidence, Life, report};
pub(crate) use probe::{Finding, Probe};
pub use reason::Reason;
pub use report::{BreakerHealth, Connection, HealthReport, LastError, Status, Versions};

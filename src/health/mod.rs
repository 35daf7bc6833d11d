//! Health: `Healthy` or `Degraded` with reasons, never a third word.
//!
//! [`report`] is pure: it puts together what [`vitals`] saw of the traffic, what the [`probe`] found, the
//! breaker, the queue and the ledger.

mod probe;
mod reason;
mod report;
mod vitals;

pub(crate) use probe::Probe;
pub use reason::Reason;
pub use report::{BreakerHealth, Connection, HealthReport, LastError, Status, Versions};
pub(crate) use report::{Evidence, Life, report};
pub(crate) use vitals::Vitals;

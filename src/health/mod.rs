//! Health: `Healthy`, or `Degraded` with reasons, and never a third state.
//!
//! [`judge`] is pure. It derives the [`report`] and each [`reason`] from the monitor's summary of the traffic, the
//! [`probe`]'s finding, the breaker, the queue and the ledger.

mod judge;
mod probe;
mod report;

pub use crate::error::Reason;
pub use judge::{ClientState, Evidence, report};
pub use probe::{Finding, Probe};
pub use report::{BreakerHealth, CaptureHealth, Connection, HealthReport, LastError, Status, Versions};

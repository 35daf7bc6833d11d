//! The queue, the worker, the layers and the monitor together, over a service that fails, in simulated time.

mod bad_events;
mod outage_log;
#[cfg(feature = "spool")]
mod outage_spool;
mod suspects;
mod trials;
mod world;

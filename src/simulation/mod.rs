//! A world in one process, drawn from a seed.

#[cfg_attr(not(test), expect(dead_code, reason = "only tests have a world so far"))]
mod disk;

#[cfg_attr(not(test), expect(unused_imports, reason = "only tests have a world so far"))]
pub use disk::{Faults, ProcessDisk, SimDisk};

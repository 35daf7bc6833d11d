//! What threads meet at. In the [models](super::interleavings) loom's stand in for these.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};
pub(super) use std::sync::{Mutex, MutexGuard};

//! What threads synchronize on. The [models](super::loom_tests) replace these with loom's.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(super) use std::sync::{Mutex, MutexGuard};

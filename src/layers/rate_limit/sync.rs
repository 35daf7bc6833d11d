//! What threads synchronize on. The models in `loom_tests.rs` replace these with loom's.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(super) use std::sync::{Mutex, MutexGuard};
pub(super) use tokio::time::sleep_until;

use std::time::{Duration, Instant};

use super::sync::{AtomicU64, Ordering};

/// When the open time ends, for those who ask without the lock. In the future only while the breaker is open:
/// only time ends that state.
#[derive(Debug)]
pub struct OpenUntil {
    /// What the nanoseconds count from.
    start: Instant,
    nanos: AtomicU64,
}

impl OpenUntil {
    pub fn passed(now: Instant) -> Self {
        Self { start: now, nanos: AtomicU64::new(0) }
    }

    pub fn set(&self, until: Instant) {
        let nanos = until.saturating_duration_since(self.start).as_nanos();
        self.nanos.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Time left, zero when it is over.
    #[inline]
    pub fn left(&self, now: Instant) -> Duration {
        let until = Duration::from_nanos(self.nanos.load(Ordering::Acquire));
        until.saturating_sub(now.saturating_duration_since(self.start))
    }
}

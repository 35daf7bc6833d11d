use std::time::{Duration, Instant};

use super::sync::{AtomicU64, Ordering};

/// When the open time ends, for those who ask without the lock. In the future only while the breaker is open:
/// only time ends that state, unless an operator has forced it.
#[derive(Debug)]
pub struct OpenUntil {
    /// What the nanoseconds count from.
    start: Instant,
    nanos: AtomicU64,
}

const NEVER: u64 = u64::MAX;

/// What is left of the open time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Nothing,
    Time(Duration),
    /// It does not end by itself.
    Endless,
}

impl Left {
    /// Returns the time, or `None` if it does not end by itself.
    pub fn time(self) -> Option<Duration> {
        match self {
            Self::Nothing => Some(Duration::ZERO),
            Self::Time(time) => Some(time),
            Self::Endless => None,
        }
    }
}

impl OpenUntil {
    pub fn passed(now: Instant) -> Self {
        Self { start: now, nanos: AtomicU64::new(0) }
    }

    pub fn set(&self, until: Instant) {
        let nanos = until.saturating_duration_since(self.start).as_nanos();
        self.nanos.store(u64::try_from(nanos).unwrap_or(NEVER - 1), Ordering::Release);
    }

    pub fn set_endless(&self) {
        self.nanos.store(NEVER, Ordering::Release);
    }

    #[inline]
    pub fn left(&self, now: Instant) -> Left {
        let nanos = self.nanos.load(Ordering::Acquire);
        if nanos == NEVER {
            return Left::Endless;
        }
        let left = Duration::from_nanos(nanos).saturating_sub(now.saturating_duration_since(self.start));
        if left.is_zero() { Left::Nothing } else { Left::Time(left) }
    }
}

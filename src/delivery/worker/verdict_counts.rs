use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::api::{CaptureWarning, EventVerdict};
use crate::rt::{lock, named};

named! {
    /// A verdict of capture V1 on an event, for the metrics.
    pub enum VerdictKind {
        Ok = "ok",
        Warning = "warning",
        Dropped = "drop",
        OverQuota = "over_quota",
        Retry = "retry",
        Missing = "missing",
    }
}

/// The verdicts of capture V1 since the start.
#[derive(Debug, Default)]
pub struct VerdictCounts {
    verdicts: [AtomicU64; VerdictKind::ALL.len()],
    warnings: [AtomicU64; CaptureWarning::ALL.len()],
    /// When PostHog last said that it updates no person for an event.
    without_person: Mutex<Option<Instant>>,
}

impl VerdictCounts {
    /// Counts the verdicts on a batch: those that are listed, and the rest as stored.
    pub fn add(&self, events: usize, verdicts: &[(usize, EventVerdict)]) {
        let stored = events.saturating_sub(verdicts.len()) as u64;
        self.verdicts[VerdictKind::Ok as usize].fetch_add(stored, Ordering::Relaxed);
        for (_, verdict) in verdicts {
            let kind = match verdict {
                EventVerdict::Warning(_) => VerdictKind::Warning,
                EventVerdict::Dropped(_) => VerdictKind::Dropped,
                EventVerdict::OverQuota => VerdictKind::OverQuota,
                EventVerdict::Retry => VerdictKind::Retry,
                EventVerdict::Missing => VerdictKind::Missing,
            };
            self.verdicts[kind as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an event that is delivered with a warning.
    pub fn warn(&self, warning: CaptureWarning, now: Instant) {
        self.warnings[warning as usize].fetch_add(1, Ordering::Relaxed);
        if warning == CaptureWarning::PersonProcessingDisabled {
            *lock(&self.without_person) = Some(now);
        }
    }

    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "what only the metrics show"))]
    pub fn of(&self, kind: VerdictKind) -> u64 {
        self.verdicts[kind as usize].load(Ordering::Relaxed)
    }

    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "what only the metrics show"))]
    pub fn warnings(&self, warning: CaptureWarning) -> u64 {
        self.warnings[warning as usize].load(Ordering::Relaxed)
    }

    pub fn without_person(&self) -> Option<Instant> {
        *lock(&self.without_person)
    }
}

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::evaluated::Evaluated;

/// PostHog's last answer to each question, in memory, bounded by the number of questions.
pub type AnswerCache = quick_cache::sync::Cache<Arc<str>, Arc<KnownFlags>>;

/// Flags by key, and when PostHog evaluated each.
pub type KnownFlags = BTreeMap<String, (Evaluated, EvaluatedAt)>;

/// A moment that may lie before the start of this process.
///
/// An `Instant` cannot go back that far on every platform, so the age at a moment of this process is added.
#[derive(Clone, Copy, Debug)]
pub struct EvaluatedAt {
    at: Instant,
    earlier: Duration,
}

impl EvaluatedAt {
    /// The moment that lay `age` before `now`.
    pub fn ago(age: Duration, now: Instant) -> Self {
        Self { at: now, earlier: age }
    }

    pub fn age(self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at).saturating_add(self.earlier)
    }
}

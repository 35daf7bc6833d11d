use serde::Serialize;

use crate::api::event_json::is_ai;
use crate::delivery::dead_letter::DeadLetterLimits;

/// What gives way when the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third end of a queue")]
pub enum Overflow {
    /// The event that comes: what happened first is kept, as posthog-rs does.
    #[default]
    DropNewest,
    /// The event that has waited longest and is not in flight: what happened last is kept.
    DropOldest,
}

#[derive(Clone, Debug, Default)]
pub struct Limits {
    pub events: usize,
    pub bytes: usize,
    pub event_bytes: usize,
    pub batch_events: usize,
    pub batch_bytes: usize,
    pub overflow: Overflow,
    pub dead_letters: DeadLetterLimits,
}

/// The most bytes of an AI event that PostHog takes, by `/i/v0/ai/batch/`.
const LARGEST_AI_EVENT: usize = 8 * 1024 * 1024;

impl Limits {
    /// Whether PostHog takes no event of this size.
    #[inline]
    pub fn refuses(&self, event: &[u8]) -> bool {
        event.len() > self.event_bytes && (event.len() > LARGEST_AI_EVENT || !is_ai(event))
    }
}

/// How full the queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct QueueFill {
    /// Events in memory, including those in flight. Events on disk that are in flight, or were read back to be sent next,
    /// take no room of new ones and do not count.
    pub events: u64,
    /// The bound on them.
    pub capacity: u64,
    /// Bytes that they take: the JSON of each, and a fixed overhead per event. Exact.
    pub bytes: u64,
    /// The bound on them.
    pub capacity_bytes: u64,
}

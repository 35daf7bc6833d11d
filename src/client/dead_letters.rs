use super::PostHog;
use crate::delivery::DeadLetter;

impl PostHog {
    /// The events that PostHog will not take as they are, the oldest first, each with the reason: to look at,
    /// and to export, one JSON object each. They are kept within
    /// [bounds](crate::PostHogBuilder::dead_letter_events), in memory, and with a spool on disk too; without one they
    /// are gone with the process.
    ///
    /// ```
    /// # fn export(posthog: &posthog_health::PostHog) -> serde_json::Result<()> {
    /// for letter in posthog.dead_letters() {
    ///     println!("{}", serde_json::to_string(&letter)?); // NDJSON
    /// }
    /// # Ok(()) }
    /// ```
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.inner.queue.dead_letters()
    }

    /// Queues the dead letters again as they are, with their uuids and times: for when PostHog was what was
    /// wrong. Tells how many; those for which the queue has no room stay where they are. What PostHog
    /// rejects again becomes a dead letter again.
    pub fn replay_dead_letters(&self) -> u64 {
        self.inner.queue.replay_dead_letters()
    }

    /// Drops the dead letters, counted as [`DropReason::DeadLetterDiscarded`](crate::DropReason::DeadLetterDiscarded). Tells how many.
    pub fn discard_dead_letters(&self) -> u64 {
        self.inner.queue.discard_dead_letters()
    }
}

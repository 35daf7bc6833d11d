use super::PostHog;
use crate::delivery::DeadLetter;

impl PostHog {
    /// Returns the events that PostHog does not accept as they are, the oldest first, each with the reason. Look at them,
    /// or export them as one JSON object each. They are kept within [bounds](crate::PostHogBuilder::dead_letter_events) in
    /// memory, and with a spool on disk too. Without a spool they are lost with the process.
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

    /// Queues the dead letters again as they are, with their uuids and times, for the case that the fault was PostHog's.
    /// Returns how many. Those that the queue has no room for stay dead letters, and an event that PostHog rejects again
    /// becomes one again.
    pub fn replay_dead_letters(&self) -> u64 {
        self.inner.queue.replay_dead_letters()
    }

    /// Drops the dead letters and counts them as
    /// [`DropReason::DeadLetterDiscarded`](crate::DropReason::DeadLetterDiscarded). Returns how many.
    pub fn discard_dead_letters(&self) -> u64 {
        self.inner.queue.discard_dead_letters()
    }
}

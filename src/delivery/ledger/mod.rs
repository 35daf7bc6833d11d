//! Where every captured event is. [`Accounts`] keeps the counts, [`Ledger`] shows them.

mod accounts;

use std::fmt;

use serde::Serialize;
use serde::ser::SerializeMap;

pub use accounts::{Account, Accounts};

use crate::rt::named;

named! {
    /// Why an event was dropped. Closed on purpose: each reason is listed, documented and counted.
    #[derive(Hash)]
    #[allow(clippy::exhaustive_enums, reason = "a new way to lose an event is a breaking change")]
    pub enum DropReason {
        /// The queue was at its bound of events or bytes.
        QueueFull = "queue_full",
        /// The event has no name; PostHog would reject its whole batch.
        NoName = "no_name",
        /// The event has no distinct id; PostHog would reject its whole batch.
        NoDistinctId = "no_distinct_id",
        /// A [`before_send`](crate::PostHogBuilder::before_send) hook dropped it.
        BeforeSend = "before_send",
        /// A `before_send` hook panicked on it. The panic's message is on stderr, or where the process's panic hook puts it.
        HookPanicked = "hook_panicked",
        /// A `before_send` hook captured it. It would meet the same hook, which would capture another one.
        InsideHook = "inside_hook",
        /// It could not be written as JSON.
        NotEncodable = "not_encodable",
        /// Its properties are nested deeper than PostHog's parser goes; PostHog would reject its whole batch.
        TooDeep = "too_deep",
        /// Its JSON is larger than the [whole queue](crate::PostHogBuilder::queue_bytes) may be, so its encoding was stopped. An
        /// event that is only larger than [one event](crate::PostHogBuilder::event_bytes) may be is a dead letter.
        TooLarge = "too_large",
        /// It was the oldest dead letter when their store was full.
        DeadLettersFull = "dead_letters_full",
        /// It was a dead letter, and [`discard_dead_letters`](crate::PostHog::discard_dead_letters) was called.
        DeadLetterDiscarded = "dead_letter_discarded",
        /// PostHog accepted it and discarded it, because the project is over its billing quota.
        OverQuota = "over_quota",
        /// It was captured after `shutdown`.
        AfterShutdown = "after_shutdown",
        /// It was still here at `shutdown`'s deadline, or when the last handle was dropped.
        Shutdown = "shutdown",
        /// The spool was at its bound of bytes, or too little of the disk was free. The event was the oldest in the spool, or
        /// `capture_durable` could not write it.
        SpoolFull = "spool_full",
        /// It was in the spool for longer than the bound on age.
        SpoolExpired = "spool_expired",
        /// `capture_durable` could not write it, because there is no spool or the spool fails.
        SpoolUnavailable = "spool_unavailable",
        /// A process with a spool ended without shutdown while the event was in memory only, or it was in a spool file that
        /// was damaged, or removed while in use. Some of these may have been delivered just before.
        Crash = "crash",
        /// It was captured by a disabled client.
        Disabled = "disabled",
    }
}

impl DropReason {
    /// All reasons there are.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    /// Whether somebody asked for the drop, so that it is no loss.
    pub fn is_intended(self) -> bool {
        matches!(self, Self::BeforeSend | Self::Disabled | Self::DeadLetterDiscarded)
    }
}

/// Dropped events by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// How many for this reason.
    pub fn count(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// How many for all reasons.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    fn count_mut(&mut self, reason: DropReason) -> &mut u64 {
        &mut self.0[reason as usize]
    }

    /// How many that nobody asked to drop.
    pub fn lost(&self) -> u64 {
        self.iter().filter(|(reason, _)| !reason.is_intended()).map(|(_, count)| count).sum()
    }

    /// The reasons that occurred, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().map(|reason| (reason, self.count(reason))).filter(|(_, count)| *count > 0)
    }
}

impl Serialize for Drops {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (reason, count) in self.iter() {
            map.serialize_entry(reason.as_str(), &count)?;
        }
        map.end()
    }
}

/// The part of a [`Ledger`] that only grows: what a spool remembers from one process to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub captured: u64,
    pub delivered: u64,
    pub dropped: Drops,
}

impl Totals {
    pub fn subtract(&mut self, other: &Self) {
        let less = |count: &mut u64, other| *count = count.saturating_sub(other);
        less(&mut self.captured, other.captured);
        less(&mut self.delivered, other.delivered);
        self.dropped.0.iter_mut().zip(other.dropped.0).for_each(|(count, other)| less(count, other));
    }
}

/// What only the spool does: it keeps counts from one process to the next.
#[cfg(feature = "spool")]
impl Drops {
    pub(crate) fn add(&mut self, reason: DropReason, events: u64) {
        *self.count_mut(reason) += events;
    }
}

#[cfg(feature = "spool")]
impl Totals {
    pub fn add(&mut self, other: &Self) {
        self.captured += other.captured;
        self.delivered += other.delivered;
        self.dropped.0.iter_mut().zip(other.dropped.0).for_each(|(count, other)| *count += other);
    }
}

/// Where every captured event is: `captured = delivered + queued + spooled + dead_lettered + dropped`, at
/// every moment. With a spool the counts go on from one process to the next.
///
/// An event is `delivered` when PostHog answered 2xx for its batch. One whose answer was lost on the way
/// stays `queued` and is sent again with the same uuid and timestamp; PostHog counts it once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Ledger {
    /// Calls of `capture`.
    pub captured: u64,
    /// Taken by PostHog.
    pub delivered: u64,
    /// In memory only, waiting or under way.
    pub queued: u64,
    /// On disk, whether or not in memory too. 0 without a spool.
    pub spooled: u64,
    /// Set aside because PostHog will not take them; see [`dead_letters`](crate::PostHog::dead_letters).
    pub dead_lettered: u64,
    /// Lost, by reason.
    pub dropped: Drops,
}

impl Ledger {
    pub(crate) fn totals(&self) -> Totals {
        let Self { captured, delivered, dropped, .. } = *self;
        Totals { captured, delivered, dropped }
    }
}

/// `captured=5 delivered=5 queued=0 dead_lettered=0 dropped=0`
impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { captured, delivered, queued, spooled, dead_lettered, dropped } = self;
        write!(f, "captured={captured} delivered={delivered} queued={queued} ")?;
        if *spooled > 0 {
            write!(f, "spooled={spooled} ")?;
        }
        write!(f, "dead_lettered={dead_lettered} dropped={}", dropped.total())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_name() {
        let mut ledger = Ledger::default();
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
            ledger.captured += index as u64 + 1;
            *ledger.dropped.count_mut(reason) += index as u64 + 1;
            assert_eq!(ledger.dropped.count(reason), index as u64 + 1);
        }
        assert_eq!(ledger.captured, ledger.dropped.total());
        assert_eq!(ledger.to_string(), "captured=190 delivered=0 queued=0 dead_lettered=0 dropped=190");
    }

    #[cfg(feature = "spool")]
    #[test]
    fn totals_are_added_and_taken_away_reason_by_reason() {
        let totals = |captured, delivered, full, crash| {
            let mut dropped = Drops::default();
            *dropped.count_mut(DropReason::QueueFull) += full;
            *dropped.count_mut(DropReason::Crash) += crash;
            Totals { captured, delivered, dropped }
        };
        let mut sum = totals(10, 4, 3, 2);
        sum.add(&totals(5, 2, 1, 0));
        assert_eq!(sum, totals(15, 6, 4, 2));
        sum.subtract(&totals(10, 4, 3, 2));
        assert_eq!(sum, totals(5, 2, 1, 0));
        sum.subtract(&totals(9, 9, 9, 9));
        assert_eq!(sum, Totals::default(), "never below nothing");
    }

    #[test]
    fn what_did_not_happen_is_not_shown() {
        let mut ledger = Ledger { captured: 5, delivered: 2, spooled: 2, ..Ledger::default() };
        *ledger.dropped.count_mut(DropReason::QueueFull) += 1;
        assert_eq!(ledger.to_string(), "captured=5 delivered=2 queued=0 spooled=2 dead_lettered=0 dropped=1");
        assert_eq!(ledger.dropped.iter().collect::<Vec<_>>(), [(DropReason::QueueFull, 1)]);
        assert_eq!(serde_json::to_string(&ledger.dropped).unwrap(), r#"{"queue_full":1}"#);
    }
}

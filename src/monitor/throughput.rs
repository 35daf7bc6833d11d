use std::time::Duration;

use tokio::time::Instant;

use crate::delivery::Snapshot;
use crate::rt::ring::{LONGEST_WINDOW, Ring};

/// How the ledger moves: the events counted within the last minutes, and how long none has been delivered.
#[derive(Debug)]
pub struct Throughput {
    slots: Ring<EventCounts>,
    /// The counts at the last sample.
    last: EventCounts,
    /// Undelivered events in memory and on disk.
    pub waiting: u64,
    /// When the queue was last empty, or an event was last delivered.
    progress_at: Instant,
}

/// Counts of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounts {
    pub delivered: u64,
    /// Lost by this process.
    pub lost: u64,
    /// Lost by an earlier process, as the spool showed later.
    pub found_lost: u64,
    pub dead_lettered: u64,
}

impl Throughput {
    pub fn new(start: Instant) -> Self {
        Self {
            slots: Ring::new(start, Duration::from_secs(1), LONGEST_WINDOW),
            last: EventCounts::default(),
            waiting: 0,
            progress_at: start,
        }
    }

    /// Of the events that wait, `suspects` do although PostHog accepts others.
    pub fn record(&mut self, now: Instant, snapshot: &Snapshot, suspects: u64) {
        let counted = EventCounts {
            delivered: snapshot.own.delivered,
            lost: snapshot.own.dropped.lost(),
            found_lost: snapshot.found_lost,
            dead_lettered: snapshot.dead_lettered,
        };
        let new = counted.minus(self.last);
        self.waiting = (snapshot.ledger.queued + snapshot.ledger.spooled).saturating_sub(suspects);
        if self.waiting == 0 || new.delivered > 0 {
            self.progress_at = now;
        }
        if new != EventCounts::default() {
            let slot = self.slots.current(now);
            *slot = slot.plus(new);
        }
        self.last = counted;
    }

    pub fn within(&self, now: Instant, window: Duration) -> EventCounts {
        self.slots.within(now, window).fold(EventCounts::default(), |sum, slot| sum.plus(*slot))
    }

    /// Returns for how long events have waited without any being delivered.
    pub fn stalled_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.progress_at)
    }
}

impl EventCounts {
    pub fn all_lost(self) -> u64 {
        self.lost + self.found_lost
    }

    fn plus(self, other: Self) -> Self {
        Self {
            delivered: self.delivered + other.delivered,
            lost: self.lost + other.lost,
            found_lost: self.found_lost + other.found_lost,
            dead_lettered: self.dead_lettered + other.dead_lettered,
        }
    }

    /// Saturates, because a count may fall: a damaged spool file loses what it had counted.
    fn minus(self, other: Self) -> Self {
        Self {
            delivered: self.delivered.saturating_sub(other.delivered),
            lost: self.lost.saturating_sub(other.lost),
            found_lost: self.found_lost.saturating_sub(other.found_lost),
            dead_lettered: self.dead_lettered.saturating_sub(other.dead_lettered),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(captured: u64, delivered: u64, dead_lettered: u64) -> Snapshot {
        let mut snapshot = Snapshot { dead_lettered, ..Snapshot::default() };
        (snapshot.own.captured, snapshot.own.delivered) = (captured, delivered);
        snapshot.ledger.queued = captured - delivered;
        snapshot
    }

    #[test]
    fn it_stalls_while_events_wait_and_none_is_delivered() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut throughput = Throughput::new(start);
        throughput.record(at(1), &snapshot(10, 0, 0), 0);
        throughput.record(at(9), &snapshot(20, 0, 0), 0);
        assert_eq!((throughput.waiting, throughput.stalled_for(at(9)).as_secs()), (20, 9));
        throughput.record(at(10), &snapshot(20, 1, 0), 0);
        assert_eq!(throughput.stalled_for(at(12)).as_secs(), 2);
        throughput.record(at(20), &snapshot(20, 20, 3), 0);
        throughput.record(at(30), &snapshot(20, 20, 3), 0);
        assert_eq!(throughput.stalled_for(at(30)).as_secs(), 0, "nothing waits");
        let minute = Duration::from_secs(60);
        assert_eq!(
            throughput.within(at(30), minute),
            EventCounts { delivered: 20, dead_lettered: 3, ..EventCounts::default() }
        );
        assert_eq!(throughput.within(at(81), minute), EventCounts::default());
    }
}

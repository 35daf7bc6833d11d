use std::time::Duration;

use tokio::time::Instant;

use super::LONGEST_WINDOW;
use super::ring::Ring;
use crate::delivery::Snapshot;

/// How the ledger moves: what was counted within the last minutes, and since when nothing was delivered.
#[derive(Debug)]
pub(super) struct Flows {
    slots: Ring<Flow>,
    before: Flow,
    waiting: u64,
    /// The latest moment at which nothing waited or something was delivered.
    moved_at: Instant,
}

/// Events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) delivered: u64,
    /// By this process.
    pub(super) lost: u64,
    /// By an earlier one.
    pub(super) found_lost: u64,
    pub(super) buried: u64,
}

impl Flows {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            slots: Ring::new(start, Duration::from_secs(1), LONGEST_WINDOW),
            before: Flow::default(),
            waiting: 0,
            moved_at: start,
        }
    }

    pub(super) fn record(&mut self, now: Instant, snapshot: &Snapshot) {
        let counted = Flow {
            delivered: snapshot.own.delivered,
            lost: snapshot.own.dropped.lost(),
            found_lost: snapshot.found_lost,
            buried: snapshot.buried,
        };
        let flow = counted.minus(self.before);
        self.waiting = snapshot.ledger.queued + snapshot.ledger.spooled;
        if self.waiting == 0 || flow.delivered > 0 {
            self.moved_at = now;
        }
        if flow != Flow::default() {
            let slot = self.slots.now(now);
            *slot = slot.plus(flow);
        }
        self.before = counted;
    }

    pub(super) fn within(&self, now: Instant, window: Duration) -> Flow {
        self.slots.within(now, window).fold(Flow::default(), |sum, flow| sum.plus(*flow))
    }

    /// Events that wait.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// For how long events have waited and none was delivered.
    pub(super) fn stalled_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.moved_at)
    }
}

impl Flow {
    pub(super) fn all_lost(self) -> u64 {
        self.lost + self.found_lost
    }

    fn plus(self, other: Self) -> Self {
        Self {
            delivered: self.delivered + other.delivered,
            lost: self.lost + other.lost,
            found_lost: self.found_lost + other.found_lost,
            buried: self.buried + other.buried,
        }
    }

    /// Counts only grow, but for what a damaged spool file takes back.
    fn minus(self, other: Self) -> Self {
        Self {
            delivered: self.delivered.saturating_sub(other.delivered),
            lost: self.lost.saturating_sub(other.lost),
            found_lost: self.found_lost.saturating_sub(other.found_lost),
            buried: self.buried.saturating_sub(other.buried),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Ledger, QueueFill};

    fn snapshot(captured: u64, delivered: u64, buried: u64) -> Snapshot {
        let mut snapshot = Snapshot {
            fill: QueueFill::default(),
            ledger: Ledger::default(),
            own: Default::default(),
            taken_over: 0,
            found_lost: 0,
            buried,
            spool: None,
            last_loss: None,
            last_burial: None,
        };
        (snapshot.own.captured, snapshot.own.delivered) = (captured, delivered);
        snapshot.ledger.queued = captured - delivered;
        snapshot
    }

    #[test]
    fn it_stalls_while_events_wait_and_none_is_delivered() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut flows = Flows::new(start);
        flows.record(at(1), &snapshot(10, 0, 0));
        flows.record(at(9), &snapshot(20, 0, 0));
        assert_eq!((flows.waiting(), flows.stalled_for(at(9)).as_secs()), (20, 9));
        flows.record(at(10), &snapshot(20, 1, 0));
        assert_eq!(flows.stalled_for(at(12)).as_secs(), 2);
        flows.record(at(20), &snapshot(20, 20, 3));
        flows.record(at(30), &snapshot(20, 20, 3));
        assert_eq!(flows.stalled_for(at(30)).as_secs(), 0, "nothing waits");
        let minute = Duration::from_secs(60);
        assert_eq!(flows.within(at(30), minute), Flow { delivered: 20, buried: 3, ..Flow::default() });
        assert_eq!(flows.within(at(81), minute), Flow::default());
    }
}

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
    pub(super) lost: u64,
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
    fn plus(self, other: Self) -> Self {
        Self {
            delivered: self.delivered + other.delivered,
            lost: self.lost + other.lost,
            buried: self.buried + other.buried,
        }
    }

    /// Counts only grow, but for what a damaged spool file takes back.
    fn minus(self, other: Self) -> Self {
        Self {
            delivered: self.delivered.saturating_sub(other.delivered),
            lost: self.lost.saturating_sub(other.lost),
            buried: self.buried.saturating_sub(other.buried),
        }
    }
}

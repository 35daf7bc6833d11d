use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::record::{Kind, Record};
use crate::delivery::ledger::{DropReason, Drops, Totals};

/// The counts of everything on disk, written with each commit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct State {
    /// The number of the commit.
    pub sequence: u64,
    /// Of the commit, in milliseconds since 1970 by the spool's own clock. 0 if an earlier version wrote it.
    pub at: u64,
    pub totals: Totals,
    pub events: u64,
    /// Of the events' records.
    pub bytes: u64,
    /// Of the dead letters' records.
    pub dead_bytes: u64,
}

impl State {
    pub fn to_bytes(self, floor: u64) -> Vec<u8> {
        let Self { sequence, at, totals, events, bytes, dead_bytes } = self;
        let Totals { captured, delivered, dropped } = totals;
        let json = json!({
            "captured": captured, "delivered": delivered, "dropped": dropped,
            "events": events, "bytes": bytes, "deadBytes": dead_bytes,
        });
        let json = json.to_string();
        let json = json.as_bytes();
        Record { kind: Kind::State, seq: floor, sequence, at, attempts: 0, json }.to_bytes()
    }

    pub fn read(record: &Record<'_>) -> Option<Self> {
        if record.kind != Kind::State {
            return None;
        }
        let row: Row = serde_json::from_slice(record.json).ok()?;
        let Row { captured, delivered, dropped: counts, events, bytes, dead_bytes } = row;
        let mut numbers =
            [captured, delivered, events, bytes, dead_bytes].into_iter().chain(counts.values().copied());
        if numbers.any(|number| number >= IMPOSSIBLE) {
            return None;
        }
        let mut dropped = Drops::default();
        for reason in DropReason::ALL {
            dropped.add(reason, counts.get(reason.as_str()).copied().unwrap_or(0));
        }
        let totals = Totals { captured, delivered, dropped };
        Some(Self { sequence: record.sequence, at: record.at, totals, events, bytes, dead_bytes })
    }

    /// Returns the totals after the end of the last process. Events that are missing on disk were in its memory only, and
    /// count as [`DropReason::Crash`]. Events that are counted as delivered but are on disk will be delivered again.
    pub fn reconciled(&self, dead: u64) -> Totals {
        let mut totals = self.totals;
        let known = totals.delivered + totals.dropped.total() + self.events + dead;
        totals.dropped.add(DropReason::Crash, totals.captured.saturating_sub(known));
        let twice = known.saturating_sub(totals.captured);
        let undelivered = twice.min(totals.delivered);
        totals.delivered -= undelivered;
        totals.captured += twice - undelivered;
        totals
    }
}

/// A [`State`] on disk. A reason that is not known any more is left out, so that its events count as
/// [`DropReason::Crash`].
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Row {
    captured: u64,
    delivered: u64,
    dropped: BTreeMap<String, u64>,
    events: u64,
    bytes: u64,
    dead_bytes: u64,
}

/// More than can be counted one by one, and few enough that no sum of such numbers overflows.
const IMPOSSIBLE: u64 = 1 << 56;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_nobody_can_have_are_none() {
        let read = |json: &str| {
            let json = json.as_bytes();
            State::read(&Record { kind: Kind::State, seq: 0, sequence: 1, at: 0, attempts: 0, json })
        };
        assert_eq!(read(r#"{"delivered":7}"#).unwrap().totals.delivered, 7);
        assert_eq!(read(r#"{"delivered":18446744073709551615,"events":2}"#), None);
        assert_eq!(read(r#"{"dropped":{"queue_full":18446744073709551615}}"#), None);
    }
}

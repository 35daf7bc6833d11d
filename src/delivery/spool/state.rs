use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::{Kind, Record};
use crate::delivery::ledger::{DropReason, Drops, Totals};

/// The numbers about all that is on disk, written with each commit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct State {
    /// Rises with each commit.
    pub sequence: u64,
    pub totals: Totals,
    pub events: u64,
    /// Of the events' records.
    pub bytes: u64,
    /// Of the dead letters' records.
    pub dead_bytes: u64,
}

impl State {
    pub fn to_bytes(self, floor: u64) -> Vec<u8> {
        let json = serde_json::json!(Row::from(self)).to_string().into_bytes();
        let sequence = self.sequence;
        let record = Record { kind: Kind::State, seq: floor, sequence, at: 0, attempts: 0, json: &json };
        record.to_bytes()
    }

    pub fn read(record: &Record<'_>) -> Option<Self> {
        if record.kind != Kind::State {
            return None;
        }
        let row: Row = serde_json::from_slice(record.json).ok()?;
        row.is_possible().then(|| Self { sequence: record.sequence, ..row.into() })
    }

    /// The totals with what the end of the last process did to them: events that are nowhere any more were
    /// in its memory only. Those that are counted twice lie here again, and will be delivered again.
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

/// As it lies on disk. A reason that is not known any more is left out, so that its events count as
/// [`DropReason::Crash`].
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Row {
    captured: u64,
    delivered: u64,
    dropped: BTreeMap<String, u64>,
    events: u64,
    bytes: u64,
    dead_bytes: u64,
}

/// More than can be counted one by one, and so few that all sums of them can be reckoned with.
const IMPOSSIBLE: u64 = 1 << 56;

impl Row {
    fn is_possible(&self) -> bool {
        let Self { captured, delivered, dropped, events, bytes, dead_bytes } = self;
        let counts = [captured, delivered, events, bytes, dead_bytes];
        counts.into_iter().chain(dropped.values()).all(|count| *count < IMPOSSIBLE)
    }
}

impl From<State> for Row {
    fn from(state: State) -> Self {
        let State { totals, events, bytes, dead_bytes, .. } = state;
        let dropped =
            totals.dropped.iter().map(|(reason, count)| (reason.as_str().to_owned(), count)).collect();
        let Totals { captured, delivered, .. } = totals;
        Self { captured, delivered, dropped, events, bytes, dead_bytes }
    }
}

impl From<Row> for State {
    fn from(row: Row) -> Self {
        let Row { captured, delivered, events, bytes, dead_bytes, .. } = row;
        let mut dropped = Drops::default();
        for reason in DropReason::ALL {
            dropped.add(reason, row.dropped.get(reason.as_str()).copied().unwrap_or(0));
        }
        Self { sequence: 0, totals: Totals { captured, delivered, dropped }, events, bytes, dead_bytes }
    }
}

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

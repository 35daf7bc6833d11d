//! What must hold at the end, when the world has been well for long enough.

use std::time::Duration;

use crate::simulation::bounds;
use crate::simulation::world::{Captured, Durable, State};
use crate::{DropReason, Ledger};

/// How a process ended, and what that may have cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was shut down, and its ledger goes on in the next one if there is a spool.
    InOrder,
    /// It was killed then.
    Killed,
    /// The machine lost its power.
    PowerLost,
}

/// The last ledger, and the uuids of the dead letters.
pub fn look(state: &mut State, ledger: &Ledger, letters: &[usize]) {
    state.note(format_args!("at the end: {ledger}"));
    for (reason, count) in ledger.dropped.iter() {
        state.coverage.add("drop reason", reason.as_str(), count);
    }
    state.coverage.add("fate", "delivered", ledger.delivered);
    state.coverage.add("fate", "dead letter", ledger.dead_lettered);
    let acknowledged = state.count(|event| event.durable == Durable::OnDisk);
    state.coverage.add("fate", "acknowledged", acknowledged);
    if state.config.spool.is_none() {
        return;
    }
    survivors(state, ledger, letters);
    accounts(state, ledger);
}

/// Acknowledged events are delivered, on disk, or dead letters, across any crash.
fn survivors(state: &mut State, ledger: &Ledger, letters: &[usize]) {
    use DropReason::*;
    if state.destroyed {
        return;
    }
    let excused = [SpoolFull, SpoolExpired, DeadLettersFull, DeadLetterDiscarded];
    if excused.iter().any(|reason| ledger.dropped.count(*reason) > 0) {
        return;
    }
    let is_safe = |(id, event): (usize, &Captured)| {
        event.accepted > 0 || letters.contains(&id) || event.kind.refused_as().is_some()
    };
    let lost = state.events.iter().enumerate().find(|(id, event)| {
        event.durable == Durable::OnDisk && !event.kind.is_bad() && !is_safe((*id, event))
    });
    if let Some((id, event)) = lost {
        let text = format!("event {id} was on disk, and is gone: {event:?}");
        state.violate("what is acknowledged survives", text);
    }
    // A spool that writes ahead has an event on disk a moment after its capture, unless the disk is in trouble.
    let writes_ahead = state.config.spool.as_ref().is_some_and(|spool| spool.is_write_ahead);
    if !writes_ahead || state.disk_was_troubled || state.spool_was_full || ledger.dropped.count(QueueFull) > 0
    {
        return;
    }
    let lost = state.events.iter().enumerate().find(|(id, event)| {
        let observed = &state.processes[event.process];
        let Some((at, Ended::Killed | Ended::PowerLost)) = observed.ended else { return false };
        let opened = observed.opened.is_some_and(|opened| event.at > opened);
        let is_old = at.saturating_duration_since(event.at) > bounds::WRITTEN_AHEAD;
        event.kind.is_good() && opened && is_old && event.is_done && !event.is_late && !is_safe((*id, event))
    });
    if let Some((id, event)) = lost {
        let text = format!("event {id} was written ahead, and is gone: {event:?}");
        state.violate("what is written ahead survives", text);
    }
}

/// The accounts of all processes together, as far as no crash has made them uncertain.
fn accounts(state: &mut State, ledger: &Ledger) {
    // Counts on disk may be gone, by no fault of the client.
    if state.destroyed || state.disk_was_troubled {
        return;
    }
    let captured = state.count(|event| event.is_done);
    let delivered = state.count(|event| event.acknowledged_to.is_some() && !event.is_over_quota);
    let accepted = state.count(|event| event.accepted > 0);
    if ledger.captured > captured {
        let text = format!("the ledger has {}, the services {captured}", ledger.captured);
        state.violate("every capture is counted once", text);
    }
    if ledger.delivered > accepted {
        let text = format!("the ledger has {}, PostHog took {accepted}", ledger.delivered);
        state.violate("nothing is counted as delivered that was not", text);
    }
    if state.processes.iter().any(|process| process.is_crashed()) {
        return lost_counts(state, ledger, captured);
    }
    if ledger.captured != captured {
        let text = format!("the ledger has {}, the services {captured}", ledger.captured);
        state.violate("every capture is counted once", text);
    }
    if ledger.delivered != delivered && !state.replayed {
        let text = format!("the ledger has {}, PostHog took {delivered}", ledger.delivered);
        state.violate("every delivery is counted once", text);
    }
}

/// A crash may cost the counts of the last moment, and no others.
fn lost_counts(state: &mut State, ledger: &Ledger, captured: u64) {
    let unknown = state.count(|event| {
        let observed = &state.processes[event.process];
        let (crashed_at, uncertain) = match observed.ended {
            Some((at, Ended::Killed)) => (at, bounds::UNNOTED),
            Some((at, Ended::PowerLost)) => (at, bounds::UNCOUNTED),
            _ => return false,
        };
        let is_open = observed.opened.is_none_or(|opened| event.at < opened + Duration::from_secs(1));
        is_open || crashed_at.saturating_duration_since(event.at) <= uncertain
    });
    if ledger.captured + unknown < captured {
        let text = format!(
            "the ledger has {} of {captured}, {unknown} of them just before a crash",
            ledger.captured
        );
        state.violate("a crash costs the counts of a moment", text);
    }
}

impl State {
    /// Bad events of which the client may still not know what they are.
    pub fn undecided(&self, letters: &[usize]) -> u64 {
        let is_undecided = |(id, event): &(usize, &Captured)| {
            event.kind.is_bad() && event.acknowledged_to.is_none() && !letters.contains(id)
        };
        self.events.iter().enumerate().filter(is_undecided).count() as u64
    }
}

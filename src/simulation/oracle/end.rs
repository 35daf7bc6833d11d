//! The rules of the end, when the world has been well for long enough.

use std::time::Duration;

use tokio::time::Instant;

use crate::simulation::bounds;
use crate::simulation::incidents::Incident;
use crate::simulation::plan::EventKind;
use crate::simulation::service::BLOCKS;
use crate::simulation::world::{Answered, Captured, Durable, State};
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
    let excused = [SpoolFull, SpoolExpired, DeadLettersFull, DeadLetterDiscarded];
    if excused.iter().any(|reason| ledger.dropped.count(*reason) > 0) {
        return;
    }
    let is_safe = |(id, event): (usize, &Captured)| {
        event.accepted > 0 || letters.contains(&id) || event.kind.refused_as().is_some()
    };
    let lost = state.events.iter().enumerate().find(|(id, event)| {
        event.durable == Durable::OnDisk
            && !event.kind.is_bad()
            && !is_safe((*id, event))
            && state.no_removal_concerns(event)
    });
    if let Some((id, event)) = lost {
        let text = format!("event {id} was on disk, and is gone: {event:?}");
        state.violate("what is acknowledged survives", text);
    }
    let was_full = state.incidents.has(Incident::SpoolFull) || ledger.dropped.count(QueueFull) > 0;
    let (Some(spool), Some(flips), false) = (&state.config.spool, state.incidents.flips_only(), was_full)
    else {
        return;
    };
    // An event is on disk a moment after its capture, or after it has waited too long.
    let was_troubled = state.incidents.disk_was_troubled();
    let (within, rule) = if spool.is_write_ahead && !was_troubled {
        (bounds::WRITTEN_AHEAD, "what is written ahead survives")
    } else {
        (bounds::spilled(&state.config), "what waits for long survives")
    };
    let is_lost = |(id, event): &(usize, &Captured)| {
        let observed = &state.processes[event.process];
        let Some((at, Ended::Killed | Ended::PowerLost)) = observed.ended else { return false };
        let opened = observed.opened.is_some_and(|opened| event.at > opened);
        let is_old = at.saturating_duration_since(event.at) > within + hook_of(event);
        // The tasks know what waits.
        let is_served = (spool.is_write_ahead && !was_troubled) || observed.tasks_ended.is_none();
        let was_kept = opened && is_old && is_served && event.is_done && !event.is_late;
        let was_well = state.incidents.disk_was_well_before(at, bounds::SEARCHED);
        let is_in = event.kind.is_good() && event.durable != Durable::Refused;
        is_in && was_kept && was_well && !is_safe((*id, event))
    };
    let mut lost = state.events.iter().enumerate().filter(is_lost);
    // Each flip may cost a page.
    if let Some((id, event)) = lost.nth(flips * bounds::DAMAGED) {
        let text = format!("event {id} is gone, beyond {flips} pages: {event:?}");
        state.violate(rule, text);
    }
}

impl State {
    /// Whether the client can keep this acknowledged event although files were removed, because it was acknowledged later or is
    /// in the memory of a process that lives on.
    fn no_removal_concerns(&self, event: &Captured) -> bool {
        let (Some(removals), Some(stored_at)) = (self.incidents.removals_only(), event.stored_at) else {
            // Other troubles of the disk take nothing away that was synced.
            return !self.incidents.disk_was_destroyed();
        };
        let settings = self.config.settings();
        let captured = self.count(|other| other.process == event.process);
        // Nothing leaves a memory that is less than half full. An event has 6 kB at most.
        let fits =
            captured * 2 <= settings.queue_events as u64 && captured * 12_000 <= settings.queue_bytes as u64;
        let ended = self.processes[event.process].ended.map(|(at, _)| at);
        removals.iter().all(|removed| {
            let known = *removed + bounds::SEARCHED;
            stored_at > known || (stored_at < *removed && fits && ended.is_none_or(|ended| ended > known))
        })
    }
}

/// How long the event's hook takes. The event is captured and counted when the hook has returned.
fn hook_of(event: &Captured) -> Duration {
    if event.kind == EventKind::HookBlocks { BLOCKS } else { Duration::ZERO }
}

/// The accounts of all processes together, as far as no crash has made them uncertain.
fn accounts(state: &mut State, ledger: &Ledger) {
    // Counts on disk may be gone, by no fault of the client.
    if state.incidents.disk_was_troubled() {
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
    if ledger.delivered != delivered && !state.incidents.has(Incident::Replay) {
        let text = format!("the ledger has {}, PostHog took {delivered}", ledger.delivered);
        state.violate("every delivery is counted once", text);
    }
}

/// A crash may cost the counts of the last moment, and no others.
fn lost_counts(state: &mut State, ledger: &Ledger, captured: u64) {
    let unknown = state.count(|event| {
        let observed = &state.processes[event.process];
        let (crashed_at, uncertain) = match observed.ended {
            // A note that the next process has not written to the file may be lost with the power.
            Some((at, Ended::Killed)) if state.incidents.power_was_lost(at, at + bounds::TAKES_NOTE) => {
                (at, bounds::UNCOUNTED)
            }
            Some((at, Ended::Killed)) => (at, bounds::UNNOTED),
            Some((at, Ended::PowerLost)) => (at, bounds::UNCOUNTED),
            _ => return false,
        };
        let is_open = observed.opened.is_none_or(|opened| event.at < opened + Duration::from_secs(1));
        is_open || crashed_at.saturating_duration_since(event.at) <= uncertain + hook_of(event)
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
    /// Bad events that the client may not have recognized yet.
    pub fn undecided(&self, letters: &[usize]) -> u64 {
        self.undecided_kinds(letters).count() as u64
    }

    fn undecided_kinds(&self, letters: &[usize]) -> impl Iterator<Item = EventKind> {
        let is_undecided = |(id, event): &(usize, &Captured)| {
            event.kind.is_bad() && event.acknowledged_to.is_none() && !letters.contains(id)
        };
        self.events.iter().enumerate().filter(is_undecided).map(|(_, event)| event.kind)
    }

    /// Whether a bad event is undecided that fails as others did in the minute before. A refusal is not by chance.
    pub fn may_fail_by_chance(&self, process: usize, letters: &[usize], now: Instant) -> bool {
        let fails = |kind| matches!(kind, EventKind::Bad(provokes) if !provokes.is_refusal());
        let is_other = |(at, answered): &(Instant, Answered)| {
            let is_recent = *at + bounds::BY_CHANCE > now;
            is_recent && matches!(answered, Answered::Failed { by_content: false, .. })
        };
        self.undecided_kinds(letters).any(fails) && self.processes[process].answers.iter().any(is_other)
    }
}

//! Delivery goes on while PostHog accepts events, whatever else is in trouble.

use tokio::time::Instant;

use crate::simulation::bounds;
use crate::simulation::plan::EventKind;
use crate::simulation::service::Service;
use crate::simulation::world::{Captured, Durable, State};
use crate::{DropReason, Ledger};

/// How many events had no room. They may be any of the waiting ones.
fn without_room(ledger: &Ledger) -> u64 {
    use DropReason::*;
    [QueueFull, SpoolFull, SpoolExpired, SpoolUnavailable, Crash]
        .map(|reason| ledger.dropped.count(reason))
        .iter()
        .sum()
}

pub fn look(service: &Service, state: &mut State, ledger: &Ledger) {
    let (number, now) = (service.number, Instant::now());
    if !state.troubles().is_empty() {
        state.processes[number].requests.flows_since = None;
    }
    let observed = &state.processes[number];
    let is_served = !observed.is_closed && observed.tasks_ended.is_none() && !state.config.is_disabled;
    let within = bounds::prompt(&state.config);
    let flows_since = observed.requests.flows_since.max(observed.requests.fresh_begun);
    let rests =
        observed.requests.flows_since.is_some() && flows_since.is_some_and(|since| now - since > within);
    if is_served && rests && !observed.token_was_refused_last && !has_many_aside(state, number) {
        let waiting = state.waiting(number, within);
        // What was on disk may be gone with the files, and what is on a disk that does not answer cannot be read.
        let readable = if state.incidents.disk_was_well_for(within) { ledger.spooled } else { 0 };
        let known = ledger.queued + readable;
        if (waiting as u64).min(known) > without_room(ledger) {
            let text = format!("{waiting} good events wait, and nothing is sent for {} s", within.as_secs());
            state.violate("delivery does not rest while PostHog accepts", text);
        }
    }
    if is_served {
        held_up(state, number, ledger, now);
    }
    durable(state, number, ledger, now);
}

/// Nothing more is taken from the queue while as much as it holds has failed. An event has 6 kB at most.
fn has_many_aside(state: &State, number: usize) -> bool {
    let settings = state.config.settings();
    let aside = state.count(|event| event.process == number && event.sent > 0 && event.accepted == 0);
    aside * 2 >= settings.queue_events as u64 || aside * 12_000 >= settings.queue_bytes as u64
}

/// A bad event that is refused at once holds up others only briefly.
fn held_up(state: &mut State, number: usize, ledger: &Ledger, now: Instant) {
    let provokes = |event: &Captured| match event.kind {
        EventKind::Bad(provokes) => Some(provokes),
        _ => None,
    };
    let others = state.events.iter().filter_map(provokes).any(|provokes| !provokes.is_refusal());
    let calm = now - bounds::liveness(&state.config);
    let is_calm = state.incidents.posthog_was_well_since(calm) && !state.processes[number].token_was_refused;
    // Good events that look like bad ones become dead letters.
    let is_excused = others || state.incidents.looked_like_bad_events();
    if is_excused || !is_calm || state.config.spool.is_some() {
        return;
    }
    let late = state.count(|event| {
        let is_due = event.process == number && event.is_done && !event.is_late && event.kind.is_good();
        is_due && event.accepted == 0 && now - event.at > bounds::HELD_UP
    });
    if late.min(ledger.queued) > without_room(ledger) {
        let text = format!("{late} wait for {} s, and PostHog is well", bounds::HELD_UP.as_secs());
        state.violate("a bad event that is refused holds up others only briefly", text);
    }
}

/// Callers that wait for the disk.
fn durable(state: &mut State, number: usize, ledger: &Ledger, now: Instant) {
    let observed = &state.processes[number];
    let waits = |durable: Durable| matches!(durable, Durable::Waits);
    let late = state.events.iter().position(|event| {
        event.process == number && waits(event.durable) && now - event.at > bounds::DURABLE
    });
    if let Some(id) = late.filter(|_| !observed.is_closed) {
        let text = format!("nobody tells what became of event {id}");
        state.violate("a durable capture ends in time", text);
    }
    let refused = state.count(|event| matches!(event.durable, Durable::Refused | Durable::Waits));
    let counted = ledger.dropped.count(DropReason::SpoolUnavailable);
    if counted > refused {
        let text = format!("{counted} are counted, and {refused} callers were told so");
        state.violate("only an event whose caller waits for the disk is refused for it", text);
    }
}

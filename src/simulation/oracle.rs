//! The rules. They know the captured events, the deeds of the world, and the results of the public API.

mod alerts;
mod disk;
mod end;
mod flow;
mod health;

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::bounds;
use super::incidents::Incident;
use super::plan::DiskFault;
use super::service::Service;
use super::world::{State, World};
use crate::{DropReason, Ledger, SpoolState};

/// The oracle's memory from one look to the next.
#[derive(Debug, Default)]
pub struct Oracle {
    /// Of the process that is looked at.
    process: Option<usize>,
    captured: u64,
    ledger: Option<Ledger>,
    /// The dead letters that were judged.
    letters: BTreeSet<usize>,
    health: health::Memory,
}

impl Oracle {
    /// Looks at a process that runs.
    pub fn look(&mut self, service: &Service, world: &World) {
        if service.is_gone() {
            return;
        }
        let number = service.number;
        if self.process != Some(number) {
            *self = Self { process: Some(number), ..Self::default() };
        }
        let (ledger, report) = (service.client.stats(), service.client.health());
        let letters = service.client.dead_letters();
        let state = &mut *world.lock();
        if self.ledger.replace(ledger) != Some(ledger) {
            state.note(format_args!("process {number}: {ledger}"));
        }
        let Ledger { captured, delivered, queued, spooled, dead_lettered, dropped } = ledger;
        if captured != delivered + queued + spooled + dead_lettered + dropped.total() {
            state.violate("the ledger balances", format_args!("{ledger:?}"));
        }
        if captured < self.captured {
            state.violate("what was captured stays so", format_args!("{captured} after {}", self.captured));
        }
        self.captured = captured;
        let settings = state.config.settings().clone();
        let (events, bytes) = (report.queue.events, report.queue.bytes);
        let (most, most_bytes) = bounds::memory(&state.config);
        if events > most || bytes > most_bytes {
            state.violate("memory stays within its bounds", format_args!("{events} events, {bytes} bytes"));
        }
        if dead_lettered > settings.dead_letter_events as u64 && !state.incidents.has(Incident::Neighbour) {
            state.violate("dead letters stay within their bound", format_args!("{dead_lettered}"));
        }
        for letter in &letters {
            // Each is judged once, because a large one takes long to parse.
            if super::world::id_in(&letter.event).is_some_and(|id| !self.letters.insert(id)) {
                continue;
            }
            let json = serde_json::to_value(letter).unwrap_or_default();
            let id = json["event"]["uuid"].as_str().and_then(super::world::id_of);
            let kind = id.and_then(|id| state.events.get(id)).map(|event| event.kind);
            match kind {
                Some(kind) if !kind.is_good() => {}
                _ if state.incidents.looked_like_bad_events() => {}
                _ => state.violate(
                    "no good event is a dead letter",
                    format_args!("event {id:?}: {}", json["reason"]),
                ),
            }
        }
        if let (Some(spool), Some(health)) = (&state.config.spool, report.spool) {
            let most = spool.max_bytes;
            let contents = most.saturating_add(bounds::DEAD_LETTER_BYTES);
            let file = (contents as f64 * bounds::FILE_FACTOR) as u64 + bounds::FILE_BASE;
            // A salvage keeps every record of a damaged file, until the next write.
            let was_salvaged = state.incidents.has(Incident::Disk(DiskFault::ByteFlips));
            let most = if was_salvaged { (most as f64 * bounds::FILE_FACTOR) as u64 } else { most };
            if health.bytes > most && health.state != SpoolState::Opening {
                state.violate("the spool stays within its bound", format_args!("{} bytes", health.bytes));
            }
            if health.state == SpoolState::Full {
                state.incidents.add_once(Incident::SpoolFull);
            }
            if health.file_bytes > file {
                let text = format!("{} bytes", health.file_bytes);
                state.violate("the file stays within its bound", text);
            }
        }
        let was_alone = number == 0 && state.processes.len() == 1;
        if state.config.spool.is_none() || (was_alone && !state.incidents.disk_was_troubled()) {
            self.accounts(service, state, &ledger);
        }
        if report.spool.is_none_or(|spool| spool.state != SpoolState::Opening) {
            state.processes[number].opened.get_or_insert(Instant::now());
        }
        self.health.look(service, state, &report);
        flow::look(service, state, &ledger);
        disk::look(service, state, &report);
        alerts::look(service, state);
    }

    /// As long as nothing comes from the disk, each account is known exactly.
    fn accounts(&self, service: &Service, state: &mut State, ledger: &Ledger) {
        let number = service.number;
        let is_own = |event: &super::world::Captured| event.process == number && event.is_done;
        let captured = state.count(is_own);
        if ledger.captured != captured {
            let text = format!("the ledger has {}, the service {captured}", ledger.captured);
            state.violate("every capture is counted once", text);
        }
        let acknowledged = state.count(|event| event.acknowledged_to == Some(number) && !event.is_over_quota);
        if ledger.delivered != acknowledged {
            let text = format!("the ledger has {}, PostHog took {acknowledged}", ledger.delivered);
            state.violate("every delivery is counted once", text);
        }
        let over_quota = state.count(|event| event.acknowledged_to == Some(number) && event.is_over_quota);
        let counted = ledger.dropped.count(DropReason::OverQuota);
        if counted != over_quota {
            let text = format!("the ledger has {counted}, PostHog discarded {over_quota}");
            state.violate("every event over quota is counted once", text);
        }
        self.refusals(state, ledger, is_own);
    }

    /// A refused event is counted for its reason.
    fn refusals(&self, state: &mut State, ledger: &Ledger, is_own: impl Fn(&super::world::Captured) -> bool) {
        let others = [DropReason::QueueFull, DropReason::AfterShutdown, DropReason::Disabled];
        let others: u64 = others.map(|reason| ledger.dropped.count(reason)).iter().sum();
        for reason in DropReason::all() {
            let expected = state.count(|event| is_own(event) && event.kind.refused_as() == Some(reason));
            let counted = ledger.dropped.count(reason);
            if expected == 0 && !has_other_causes(reason, state) && counted > 0 {
                state.violate("a drop has a cause", format_args!("{counted} {}", reason.as_str()));
            }
            if expected > 0 && !(expected.saturating_sub(others)..=expected).contains(&counted) {
                let text = format!("{} counts {counted} of {expected}", reason.as_str());
                state.violate("a refused event is counted for its reason", text);
            }
        }
    }
}

/// Reasons that are not in an event.
fn has_other_causes(reason: DropReason, state: &State) -> bool {
    use DropReason::*;
    match reason {
        QueueFull | AfterShutdown | Shutdown | DeadLettersFull | DeadLetterDiscarded | OverQuota => true,
        SpoolFull | SpoolExpired | Crash => state.config.spool.is_some(),
        // A wait for a disk that there is not.
        SpoolUnavailable => true,
        Disabled => state.config.is_disabled,
        _ => false,
    }
}

pub use end::{Ended, look as at_the_end};

impl Oracle {
    /// A process has ended.
    pub fn ends(&mut self, service: &Service, world: &World, how: Ended) {
        let state = &mut *world.lock();
        state.note(format_args!("process {} has ended: {how:?}", service.number));
        let ledger = service.client.stats();
        if state.config.spool.is_none() {
            for (reason, count) in ledger.dropped.iter() {
                state.coverage.add("drop reason", reason.as_str(), count);
            }
        }
        let at = service.disk.died_at().map_or_else(Instant::now, Instant::from_std);
        state.processes[service.number].ended = Some((at, how));
    }
}

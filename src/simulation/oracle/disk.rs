//! The files of the spool.

use std::path::Path;

use tokio::time::Instant;

use crate::simulation::bounds;
use crate::simulation::incidents::Incident;
use crate::simulation::plan::DiskFault;
use crate::simulation::service::{NEWER_FILE, Service};
use crate::simulation::world::State;
use crate::{DropReason, HealthReport, Reason, SpoolState};

pub fn look(service: &Service, state: &mut State, report: &HealthReport) {
    expires(state, report);
    let observed = &mut state.processes[service.number];
    let (Some(spool), Some(opened)) = (report.spool, observed.opened) else { return };
    if spool.bytes + bounds::ROOM > spool.capacity_bytes {
        observed.lacked_room = Some(Instant::now());
    }
    let had_room = observed.lacked_room.is_none_or(|then| then.elapsed() >= bounds::SEARCHED);
    let is_closed = observed.is_closed;
    let is_well = state.incidents.disk_was_well_for(bounds::SEARCHED);
    if !is_well || opened.elapsed() < bounds::SEARCHED || is_closed {
        return;
    }
    let files = service.disk.files();
    let is_store = |file: &&Path| file.extension().is_some_and(|extension| extension == "redb");
    let newer = Path::new(NEWER_FILE);
    let mut stores = files.iter().map(AsRef::as_ref).filter(is_store);
    if !stores.any(|file| file != newer) {
        state.violate("a spool whose files were removed begins new ones", format_args!("{files:?}"));
    }
    // Damage weighs more, and without room nobody searches.
    let other = state.incidents.disk_was_destroyed() || spool.state != SpoolState::Ready || !had_room;
    let is_there =
        state.incidents.has(Incident::Disk(DiskFault::NewerFile)) && files.iter().any(|file| file == newer);
    if is_there && !other && !report.reasons.contains(&Reason::SpoolDamaged) {
        state.violate("health names a file of a newer version", format_args!("{:?}", report.reasons));
    }
}

/// Events age by a clock that does not jump.
fn expires(state: &mut State, report: &HealthReport) {
    let Some(spool) = &state.config.spool else { return };
    let expired = report.ledger.dropped.count(DropReason::SpoolExpired);
    let oldest = state.elapsed() + state.incidents.pauses_in_jumps();
    if expired > 0 && oldest < spool.max_age {
        let text = format!("{expired} are, after {} s", oldest.as_secs());
        state.violate("nothing expires before its time", text);
    }
}

//! The world becomes well, and the history ends.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Driver;
use crate::simulation::plan::{EventKind, Make, Plan, Provokes};
use crate::simulation::words::seconds;
use crate::simulation::{bounds, oracle};
use crate::{DropReason, SpoolState};

impl Driver<'_> {
    /// The world is well again.
    pub fn become_well(&mut self) {
        self.world.note("the world is well again");
        {
            let state = &mut *self.world.lock();
            state.troubles.clear();
            state.incidents.end();
        }
        self.faults.clear();
        self.set_faults();
        if let Some((at, _)) = &mut self.stops_at {
            *at = Instant::now();
        }
        if let Some(at) = &mut self.next_start {
            *at = Instant::now();
        }
        if let Some((_, until)) = &mut self.neighbour {
            *until = Instant::now();
        }
    }

    /// Waits until everything is delivered, with a little traffic, as a service has it.
    pub async fn recover(&mut self, plan: &Plan) {
        let (mut begun, mut within) = (Instant::now(), bounds::liveness(&self.world.lock().config));
        if self.world.lock().count(|event| event.kind == EventKind::Bad(Provokes::Unavailable)) > 0 {
            within += bounds::hinted(&self.world.lock().config);
        }
        let mut searches_since = None;
        let make = Make { kind: EventKind::Good, is_typed: true, size: 100 };
        loop {
            self.wait_until(Instant::now() + bounds::LOOK).await;
            if self.is_over() {
                return;
            }
            let Some(service) = &self.main else { continue };
            let is_open =
                service.client.health().spool.is_none_or(|spool| spool.state != SpoolState::Opening);
            let (ledger, letters) = (service.client.stats(), service.letters());
            let undecided = self.world.lock().undecided(&letters);
            if is_open && ledger.queued + ledger.spooled <= undecided && self.shutdown.is_none() {
                return;
            }
            // From the first acceptance on, the others of a batch with a bad event wait for the end of its search.
            if undecided > 0 && searches_since.is_none() {
                let state = self.world.lock();
                searches_since = state.accepted_since(begun);
                begun = searches_since.unwrap_or(begun);
                let by_chance = state.may_fail_by_chance(service.number, &letters, begun);
                within += if by_chance { bounds::BY_CHANCE } else { Duration::ZERO };
            }
            if begun.elapsed() > within + bounds::LOOK {
                let text = format!("{ledger} and {undecided} undecided after {}", seconds(begun.elapsed()));
                return self.world.lock().violate("a world that is well delivers everything", text);
            }
            // Every fourth look: what is new is delivered before the next.
            if !plan.ends_quietly && begun.elapsed().as_secs() / 5 % 4 == 0 {
                self.capture(make);
            }
        }
    }

    /// Ends the last process, and judges the whole.
    pub async fn finish(&mut self) {
        if self.is_over() {
            return;
        }
        self.look();
        // What other processes left is found every 10 s, once the file is checked.
        self.wait_until(Instant::now() + Duration::from_secs(25)).await;
        let Some(service) = self.main.take().filter(|_| !self.is_over()) else { return };
        self.world.lock().processes[service.number].is_closed = true;
        let shutdown = service.client.shutdown(Duration::from_secs(30));
        let Ok(report) = timeout(Duration::from_secs(32), shutdown).await else {
            return self.world.lock().violate("shutdown ends at its deadline", "not within 32 s");
        };
        let (ledger, letters) = (service.client.stats(), service.letters());
        {
            let state = &mut *self.world.lock();
            state.note(format_args!("the last shutdown: {report:?}"));
            if ledger.queued > 0 {
                state.violate("nothing is in memory after a shutdown", ledger);
            }
            if state.config.spool.is_none()
                && ledger.dropped.count(DropReason::Shutdown) > state.undecided(&letters)
            {
                state.violate("a shutdown in a world that is well delivers everything", ledger);
            }
            state.coverage.add("fate", "on disk at the end", ledger.spooled);
            oracle::at_the_end(state, &ledger, &letters);
        }
        drop(service);
        // Nothing is left that would still do something.
        sleep(Duration::from_secs(1)).await;
    }
}

//! The actions of the service, the people and the machine.

use std::time::Duration;

use tokio::time::Instant;

use super::Driver;
use crate::simulation::incidents::Incident;
use crate::simulation::oracle::Ended;
use crate::simulation::plan::{Action, Make, Patience};
use crate::simulation::service::polled;
use crate::simulation::words::seconds;

impl Driver<'_> {
    pub async fn perform(&mut self, action: &Action) {
        if !matches!(action, Action::Capture { .. }) {
            self.world.note(action);
        }
        match *action {
            Action::Capture { events, make } => {
                let first = self.world.lock().events.len();
                for _ in 0..events {
                    self.capture(make);
                }
                let state = &mut *self.world.lock();
                let last = state.events.len().checked_sub(1).filter(|last| *last >= first);
                if let Some(last) = last {
                    state.note(format_args!("{action}: {first} to {last}"));
                }
            }
            Action::CaptureDurably { make, patience } => {
                if let Some(service) = &self.main {
                    self.tasks.push(tokio::spawn(service.capture_durably(make, patience)));
                }
            }
            Action::Flush { patience } => self.flush(patience),
            Action::HealthCheck { patience } => self.health_check(patience),
            Action::ReplayDeadLetters => {
                if let Some(service) = &self.main {
                    let dead = service.letters();
                    // From the oldest on, as many as there is room for.
                    let replayed = service.client.replay_dead_letters();
                    let state = &mut *self.world.lock();
                    state.replays(service.number);
                    for id in dead.into_iter().take(replayed as usize) {
                        state.events[id].replayed_at = Some(Instant::now());
                    }
                    state.note(format_args!("{replayed} are queued again"));
                }
            }
            Action::DiscardDeadLetters => {
                if let Some(service) = &self.main {
                    let letters = service.client.discard_dead_letters();
                    self.world.note(format_args!("{letters} are discarded"));
                }
            }
            Action::Shutdown { deadline, patience, down } => self.shut_down(deadline, patience, down).await,
            Action::Kill { at_write: None, down } => {
                self.count("life", "kill");
                self.ends(Ended::Killed, down);
            }
            Action::Kill { at_write: Some(n), down } => {
                self.count("life", "kill in a write");
                if let Some(service) = &self.main {
                    service.disk.kill_at(n.into());
                    self.next_down(down);
                }
            }
            Action::PowerLoss { down } => {
                self.count("life", "power loss");
                self.world.lock().incidents.add(Incident::PowerLoss, Instant::now());
                self.disk.lose_power();
                if let Some((service, _)) = self.neighbour.take() {
                    self.oracle.ends(&service, &self.world, Ended::PowerLost);
                }
                self.ends(Ended::PowerLost, down);
            }
            Action::RuntimeEnds { lives, down } => {
                if let Some(service) = &self.main
                    && let Some(running) = service.client.running()
                {
                    running.abort();
                    running.monitoring.abort();
                    self.stops_at = Some((Instant::now() + lives, down));
                    self.world.lock().processes[service.number].tasks_ended = Some(Instant::now());
                    self.count("life", "end of the runtime");
                }
            }
            Action::Neighbour { lives } => {
                if self.neighbour.is_none() {
                    self.world.lock().incidents.add(Incident::Neighbour, Instant::now() + lives);
                    self.neighbour = Some((self.start(), Instant::now() + lives));
                    self.count("life", "neighbour");
                }
            }
            Action::ClockJump { forward, by } => {
                self.simulation.jump(by, forward);
                let jump = Incident::ClockJump { forward, by };
                self.world.lock().incidents.add(jump, Instant::now());
                self.count("life", "clock jump");
            }
            Action::PostHog(trouble) => self.trouble(trouble),
            Action::Disk(trouble) => self.disk_trouble(trouble),
        }
    }

    pub fn count(&self, group: &'static str, name: &str) {
        self.world.lock().coverage.count(group, name);
    }

    /// How long there is no process after a kill that is to come.
    fn next_down(&mut self, down: Duration) {
        let never = Instant::now() + Duration::from_secs(86_400 * 365);
        self.stops_at.get_or_insert((never, down));
    }

    pub fn capture(&mut self, make: Make) {
        let both = self.main.as_ref().zip(self.neighbour.as_ref().map(|(service, _)| service));
        let service = match both {
            Some((main, other)) => Some(if self.world.lock().rng.bool() { main } else { other }),
            None => self.main.as_ref(),
        };
        if let Some(service) = service.filter(|service| !service.is_gone()) {
            service.capture(make);
        }
    }

    fn flush(&mut self, patience: Option<Patience>) {
        let Some(service) = &self.main else { return };
        let (client, world, number) = (service.client.clone(), self.world.clone(), service.number);
        let events = world.lock().events.len();
        self.tasks.push(tokio::spawn(async move {
            let begun = Instant::now();
            let result = polled(client.flush(), patience).await;
            let state = &mut *world.lock();
            state.note(format_args!("the flush of process {number} ends: {result:?}"));
            // 10 s by default, and the SDK's part before.
            if begun.elapsed() > Duration::from_secs(11) {
                state.violate("flush ends in time", seconds(begun.elapsed()));
            }
            let is_clean = client.stats().dropped.total() == 0 && client.stats().dead_lettered == 0;
            if result == Some(Ok(())) && is_clean && state.config.spool.is_none() {
                let open = state.events[..events].iter().position(|event| {
                    event.process == number && event.is_done && event.acknowledged_to.is_none()
                });
                if let Some(id) = open {
                    state.violate(
                        "flush waits for what was captured",
                        format_args!("event {id} is not delivered"),
                    );
                }
            }
        }));
    }

    fn health_check(&mut self, patience: Option<Patience>) {
        let Some(service) = &self.main else { return };
        let (client, world) = (service.client.clone(), self.world.clone());
        self.tasks.push(tokio::spawn(async move {
            let begun = Instant::now();
            let report = polled(client.health_check(), patience).await;
            let state = &mut *world.lock();
            state.note(format_args!("the readiness probe has: {:?}", report.map(|report| report.reasons)));
            // The probe has 2 s by default.
            if begun.elapsed() > Duration::from_millis(2_100) {
                state.violate("the health check ends in time", seconds(begun.elapsed()));
            }
        }));
    }

    async fn shut_down(&mut self, deadline: Duration, patience: Option<Patience>, down: Duration) {
        if self.shutdown.is_some() {
            return;
        }
        let Some(service) = &self.main else { return };
        let (client, world, number) = (service.client.clone(), self.world.clone(), service.number);
        world.lock().processes[number].is_closed = true;
        self.count("life", "shutdown");
        let task = tokio::spawn(async move {
            let begun = Instant::now();
            let report = polled(client.shutdown(deadline), patience).await;
            let state = &mut *world.lock();
            state.note(format_args!("the shutdown of process {number} ends: {report:?}"));
            // It gives its tasks 250 ms each to notice.
            if begun.elapsed() > deadline + Duration::from_secs(1) {
                state.violate("shutdown ends at its deadline", seconds(begun.elapsed()));
            }
            let ledger = client.stats();
            if report.is_some() && ledger.queued > 0 {
                state.violate("nothing is in memory after a shutdown", ledger);
            }
            report.is_some()
        });
        // It is polled before anything else is captured, as by a service that awaits it.
        tokio::task::yield_now().await;
        self.shutdown = Some((task, down));
    }
}

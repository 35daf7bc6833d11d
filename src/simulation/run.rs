//! Runs a plan: one history.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::bounds;
use super::coverage::Coverage;
use super::disk::{Faults, SimDisk};
use super::history::{History, Lines};
use super::incidents::Incident;
use super::oracle::{self, Ended, Oracle};
use super::plan::{
    Action, DiskFault, DiskTrouble, EventKind, Fault, Make, Patience, Plan, Provokes, Trouble,
};
use super::service::{NEWER_FILE, Service, polled};
use super::words::seconds;
use super::world::{Violation, World, id_in};
use crate::rt::simulated::{self, Simulation};
use crate::{DropReason, SpoolState};

/// What a history came to.
#[derive(Debug)]
pub struct Outcome {
    pub violation: Option<Violation>,
    pub steps: usize,
    pub captures: usize,
    pub simulated: Duration,
    pub faults: u64,
    pub coverage: Coverage,
    pub hash: u64,
    /// Empty unless it was asked for.
    pub lines: Vec<String>,
}

/// Runs a plan.
pub fn run(plan: &Plan, lines: Lines) -> Outcome {
    // 2030, and so later than any time that the machine's own clock can bring in.
    let begins_at = UNIX_EPOCH + Duration::from_secs(1_893_456_000);
    simulated::run(plan.seed, begins_at, async |simulation: &Simulation| {
        let world = World::new(plan.seed, &plan.config, lines);
        let disk = SimDisk::new(plan.seed, Arc::new(simulated::sleep));
        let mut driver = Driver {
            simulation,
            world: world.clone(),
            disk,
            oracle: Oracle::default(),
            looked: Instant::now(),
            main: None,
            next_start: Some(Instant::now()),
            neighbour: None,
            stops_at: None,
            faults: Vec::new(),
            tasks: Vec::new(),
            shutdown: None,
        };
        driver.go(plan).await;
        drop(driver);
        let mut state = world.lock();
        let history = std::mem::replace(&mut state.history, History::new(Lines::Forget));
        Outcome {
            violation: state.violation.clone(),
            steps: plan.steps.len(),
            captures: state.events.len(),
            simulated: state.elapsed(),
            faults: state.coverage.faults(),
            coverage: std::mem::take(&mut state.coverage),
            hash: history.hash(),
            lines: history.into_lines(),
        }
    })
}

struct Driver<'a> {
    simulation: &'a Simulation,
    world: World,
    disk: SimDisk,
    oracle: Oracle,
    /// When it looked last.
    looked: Instant,
    main: Option<Service>,
    /// When the next process starts, while there is none.
    next_start: Option<Instant>,
    neighbour: Option<(Service, Instant)>,
    /// The main process's tasks have ended. It ends then, and the next one starts so much later.
    stops_at: Option<(Instant, Duration)>,
    faults: Vec<(DiskFault, Instant)>,
    tasks: Vec<JoinHandle<()>>,
    /// The shutdown of the main process, which tells whether it came to its end, and how long there is none after it.
    shutdown: Option<(JoinHandle<bool>, Duration)>,
}

impl Driver<'_> {
    async fn go(&mut self, plan: &Plan) {
        let begun = Instant::now();
        for (index, step) in plan.steps.iter().enumerate() {
            self.wait_until(begun + step.at).await;
            if self.is_over() {
                return;
            }
            self.world.lock().step = index;
            self.perform(&step.action).await;
            let is_long = self.looked.elapsed() >= bounds::LOOK;
            if is_long || !matches!(step.action, Action::Capture { events: ..10, .. }) {
                self.look();
            }
        }
        self.world.lock().step = plan.steps.len();
        self.wait_until(begun + plan.end()).await;
        self.become_well();
        self.recover(plan).await;
        self.finish().await;
    }

    fn is_over(&self) -> bool {
        self.world.lock().violation.is_some()
    }

    /// Lets time pass, and does what is due in between.
    async fn wait_until(&mut self, until: Instant) {
        loop {
            self.due().await;
            if Instant::now() >= until || self.is_over() {
                return;
            }
            let times = [
                self.next_start,
                self.neighbour.as_ref().map(|(_, until)| *until),
                self.stops_at.map(|(at, _)| at),
            ];
            let times = times.into_iter().flatten().chain(self.faults.iter().map(|(_, until)| *until));
            let next = times.chain([until, Instant::now() + bounds::LOOK]).min().unwrap_or(until);
            if next > Instant::now() {
                sleep_until(next).await;
            }
            if next < until {
                self.look();
            }
        }
    }

    async fn due(&mut self) {
        let now = Instant::now();
        self.tasks.retain(|task| !task.is_finished());
        if self.faults.iter().any(|(_, until)| *until <= now) {
            self.faults.retain(|(_, until)| *until > now);
            self.set_faults();
        }
        if self.main.as_ref().is_some_and(Service::is_gone) {
            self.world.note("the process was killed");
            let down = self.stops_at.take().map_or(Duration::from_secs(1), |(_, down)| down);
            self.ends(Ended::Killed, down);
        }
        if let Some((shutdown, down)) = self.shutdown.take_if(|(shutdown, _)| shutdown.is_finished()) {
            let is_complete = shutdown.await.unwrap_or(false);
            self.ends(if is_complete { Ended::InOrder } else { Ended::Killed }, down);
        }
        if let Some((_, down)) = self.stops_at.take_if(|(at, _)| *at <= now) {
            self.ends(Ended::Killed, down);
        }
        if let Some((service, _)) = self.neighbour.take_if(|(_, until)| *until <= now) {
            self.world.note("the neighbour shuts down");
            self.world.lock().processes[service.number].is_closed = true;
            service.client.shutdown(Duration::from_secs(5)).await;
            self.world.lock().processes[service.number].ended = Some((Instant::now(), Ended::InOrder));
        }
        if self.next_start.take_if(|at| *at <= now).is_some() {
            self.main = Some(self.start());
        }
    }

    fn start(&self) -> Service {
        Service::start(&self.world, self.simulation.process(), self.disk.process())
    }

    /// The main process has ended.
    fn ends(&mut self, how: Ended, down: Duration) {
        let Some(service) = self.main.take() else { return };
        self.oracle.ends(&service, &self.world, how);
        self.stops_at = None;
        self.shutdown = None;
        self.next_start = Some(Instant::now() + down);
    }

    fn look(&mut self) {
        self.looked = Instant::now();
        if let Some(service) = &self.main {
            self.oracle.look(service, &self.world);
        }
    }

    async fn perform(&mut self, action: &Action) {
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
                    let dead = letters(service);
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

    fn count(&self, group: &'static str, name: &str) {
        self.world.lock().coverage.count(group, name);
    }

    /// How long there is no process after a kill that is to come.
    fn next_down(&mut self, down: Duration) {
        let never = Instant::now() + Duration::from_secs(86_400 * 365);
        self.stops_at.get_or_insert((never, down));
    }

    fn capture(&mut self, make: Make) {
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

    fn trouble(&mut self, trouble: Trouble) {
        let state = &mut *self.world.lock();
        state.coverage.count("fault", trouble.fault.name());
        let until = Instant::now() + trouble.lasts;
        state.incidents.add(Incident::PostHog(trouble), until);
        state.troubles.push((trouble, until));
        if trouble.fault == Fault::TokenRotated {
            state.token += 1;
        }
    }

    fn disk_trouble(&mut self, DiskTrouble { fault, lasts }: DiskTrouble) {
        {
            let state = &mut *self.world.lock();
            state.coverage.count("disk fault", fault.name());
            state.incidents.add(Incident::Disk(fault), Instant::now() + lasts);
        }
        match fault {
            DiskFault::FilesRemoved => self.disk.lose_files(),
            DiskFault::Evicts => self.disk.evict(),
            DiskFault::NewerFile => self.leave_newer_file(),
            DiskFault::ByteFlips => {
                let flipped = self.disk.flip();
                self.world.note(format_args!("{flipped:?} is flipped"));
            }
            fault => {
                self.faults.push((fault, Instant::now() + lasts));
                self.set_faults();
            }
        }
    }

    fn set_faults(&mut self) {
        let mut faults = Faults::default();
        for (fault, _) in &self.faults {
            match *fault {
                DiskFault::Slow { millis } => faults.slow = Duration::from_millis(millis.into()),
                DiskFault::Hangs => faults.hangs = true,
                DiskFault::Fails => faults.fails = Some(std::io::ErrorKind::Other),
                DiskFault::ReadsFail => faults.reads_fail = true,
                DiskFault::Forgets => faults.forgets = true,
                DiskFault::IsFull => faults.is_full = true,
                _ => {}
            }
        }
        self.disk.set_faults(faults);
    }

    /// A process of a later version was here. Other faults of the disk do not concern it.
    fn leave_newer_file(&mut self) {
        self.disk.set_faults(Faults::default());
        if let Err(error) = self.disk.leave_newer_file(Path::new(NEWER_FILE)) {
            self.world.note(format_args!("no newer file: {error}"));
        }
        self.set_faults();
    }

    /// The world is well again.
    fn become_well(&mut self) {
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
    async fn recover(&mut self, plan: &Plan) {
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
            let (ledger, letters) = (service.client.stats(), letters(service));
            let undecided = self.world.lock().undecided(&letters);
            if is_open && ledger.queued + ledger.spooled <= undecided && self.shutdown.is_none() {
                return;
            }
            // From the first acceptance on, the others of a batch with a bad event wait for the end of its search.
            if undecided > 0 && searches_since.is_none() {
                searches_since = self.world.lock().accepted_since(begun);
                begun = searches_since.unwrap_or(begun);
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
    async fn finish(&mut self) {
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
        let (ledger, letters) = (service.client.stats(), letters(&service));
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

fn letters(service: &Service) -> Vec<usize> {
    service.client.dead_letters().iter().filter_map(|letter| id_in(&letter.event)).collect()
}

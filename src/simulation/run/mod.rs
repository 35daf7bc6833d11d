//! Runs a plan: one history.

mod actions;
mod end;
mod faults;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::rt::simulated;
use crate::rt::simulated::Simulation;
use crate::simulation::bounds;
use crate::simulation::coverage::Coverage;
use crate::simulation::disk::SimDisk;
use crate::simulation::history::{History, Lines};
use crate::simulation::oracle::{Ended, Oracle};
use crate::simulation::plan::{Action, DiskFault, Plan};
use crate::simulation::service::Service;
use crate::simulation::world::{Violation, World};

/// The result of a history.
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
    /// The shutdown of the main process, which returns whether it was complete, and the time until the next process starts.
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

    /// Lets time pass, and does the due things in between.
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
}

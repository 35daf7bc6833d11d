//! A client over a PostHog that judges requests by their content, their number or their time, in simulated time: tokio's,
//! and the circuit breaker's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use failsafe::clock::{self, MockClock};
use tokio::runtime;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tower::service_fn;

use crate::api::{Batch, Protocols, Receipt};
use crate::client::pipeline::pipeline;
use crate::config::Settings;
use crate::credentials::Opened;
use crate::delivery::Queue;
use crate::monitor::{Monitor, Severity};
use crate::{Error, ErrorKind};

pub const SECOND: Duration = Duration::from_secs(1);
pub const MS: Duration = Duration::from_millis(1);

pub type Answer = Result<Receipt, Error>;
pub const OK: Answer = Ok(Receipt::TAKEN);

/// A request.
pub struct Req {
    /// Its number, from 1 on.
    pub n: u32,
    /// Since the start.
    pub at: Duration,
    /// Whether it carries a bad event.
    pub is_bad: bool,
    /// Its events, by the order of capture.
    pub ids: Vec<u32>,
}

/// How long PostHog takes for a request, and what it answers.
pub type Fares = Arc<dyn Fn(&Req) -> (Duration, Answer) + Send + Sync>;

/// What a bad event provokes, by name.
pub fn provoked(name: &str) -> (Duration, Answer) {
    let failed = |kind, status| (MS * 20, Err(Error::new(kind).with_status(status)));
    match name {
        "400" => failed(ErrorKind::BadRequest, 400),
        "403 with a page" => failed(ErrorKind::WrongHost, 403),
        "413" => failed(ErrorKind::TooLarge, 413),
        "500" => failed(ErrorKind::Server, 500),
        "502 with a page" => failed(ErrorKind::Server, 502),
        "503, Retry-After: 120" => {
            let error = Error::new(ErrorKind::Server).with_status(503).with_retry_after(Some(SECOND * 120));
            (MS * 20, Err(error))
        }
        "reset" => (MS * 20, Err(Error::new(ErrorKind::ConnectionLost))),
        "hang" => (SECOND * 1000, OK),
        _ => panic!("{name}"),
    }
}

/// Bad events provoke this, and all else is accepted.
pub fn content(name: &'static str) -> Fares {
    Arc::new(move |req| if req.is_bad { provoked(name) } else { (MS * 20, OK) })
}

/// What PostHog has seen.
#[derive(Default)]
struct Seen {
    requests: u32,
    /// Those that carried some of the first 1,000 events.
    with_first: u32,
    /// When each event was delivered first.
    delivered: BTreeMap<u32, Duration>,
}

pub struct World {
    pub queue: Arc<Queue>,
    process: Process,
    start: Instant,
    fares: Fares,
    seen: Arc<Mutex<Seen>>,
    /// When each event was captured, and whether it is bad.
    captured: Vec<(Duration, bool)>,
    /// The P1 alerts that have fired.
    pub pages: BTreeSet<String>,
}

struct Process {
    monitor: Arc<Monitor>,
    monitoring: JoinHandle<()>,
    worker: JoinHandle<()>,
    disk: Disk,
}

impl World {
    /// Starts a client, with a spool in this directory if there is one.
    pub async fn start(settings: Settings, fares: Fares, directory: Option<&Path>) -> Self {
        let (start, seen) = (Instant::now(), Arc::default());
        let (queue, process) = Process::start(settings, start, &fares, &seen, directory).await;
        let (captured, pages) = (Vec::new(), BTreeSet::new());
        Self { queue, process, start, fares, seen, captured, pages }
    }

    /// Ends the process, and starts the next one with the defaults on the same disk.
    pub async fn restart(&mut self, directory: &Path) {
        self.shut_down().await;
        let Self { start, fares, seen, .. } = &*self;
        let next = Process::start(Settings::default(), *start, fares, seen, Some(directory)).await;
        (self.queue, self.process) = next;
    }

    pub async fn shut_down(&mut self) {
        self.queue.close();
        // Time goes on meanwhile: the worker ends once nothing can be sent any more.
        while !self.process.worker.is_finished() {
            sleep(MS * 10).await;
            self.disk_works().await;
        }
        self.queue.abandon();
        self.process.disk.ended().await;
        self.process.monitoring.abort();
    }

    pub fn capture(&mut self, is_bad: bool) {
        let name = if is_bad { "bad" } else { "good" };
        let json = format!("{{\"{name}\":{}}}", self.captured.len());
        self.captured.push((self.start.elapsed(), is_bad));
        self.queue.enter(json.into(), None);
    }

    /// Lets time pass, in steps of 100 ms, and does this with the number of each.
    pub async fn run(&mut self, clock: &mut MockClock, time: Duration, mut each: impl FnMut(&mut Self, u32)) {
        let step = MS * 100;
        for n in 0..(time.as_millis() / step.as_millis()) as u32 {
            each(self, n);
            clock.advance(step);
            sleep(step).await;
            self.disk_works().await;
            if n % 10 == 0 {
                self.note_pages();
            }
        }
    }

    /// Gives the disk, which takes real time, a little of it, and more while it has much to do.
    async fn disk_works(&self) {
        if self.queue.snapshot().spool.is_some() {
            let start = std::time::Instant::now();
            let has_much_to_do = || {
                let fill = self.queue.snapshot().fill;
                fill.events * 2 > fill.capacity && start.elapsed() < SECOND / 5
            };
            in_real_time(|| start.elapsed() > MS / 5 && !has_much_to_do()).await;
        }
    }

    fn note_pages(&mut self) {
        let alerts = self.process.monitor.alerts();
        for alert in alerts.into_iter().filter(|alert| alert.severity == Severity::P1) {
            let name = format!("{:?}", alert.name);
            if !self.pages.iter().any(|page| page.starts_with(&name)) {
                let at = self.start.elapsed().as_secs();
                self.pages.insert(format!("{name} at {at} s: {}", alert.detail));
            }
        }
    }

    /// The requests that carried some of the first 1,000 events.
    pub fn requests_with_first(&self) -> u32 {
        self.seen.lock().unwrap().with_first
    }

    pub fn report(&self) -> Report {
        let (seen, now) = (self.seen.lock().unwrap(), self.start.elapsed());
        let (mut worst, mut late, mut waiting, mut bad) = (Duration::ZERO, 0, 0, 0);
        for (id, (at, is_bad)) in (0..).zip(&self.captured) {
            if *is_bad {
                bad += 1;
                continue;
            }
            let delivered = seen.delivered.get(&id);
            let delay = delivered.map_or(now, |delivered| *delivered) - *at;
            worst = worst.max(delay);
            late += u32::from(delay > SECOND * 30);
            waiting += u32::from(delivered.is_none());
        }
        let ledger = self.queue.ledger();
        let of_all =
            ledger.delivered + ledger.queued + ledger.spooled + ledger.dead_lettered + ledger.dropped.total();
        assert_eq!(ledger.captured, of_all, "{ledger}");
        let letters = self.queue.dead_letters();
        let dead_good = letters.iter().filter(|letter| letter.event.starts_with(b"{\"good")).count();
        let (dead, requests, pages) = (ledger.dead_lettered, seen.requests, self.pages.clone());
        Report { bad, waiting, late, worst, dead, dead_good, requests, pages }
    }
}

/// What became of all events.
#[derive(Debug)]
pub struct Report {
    pub bad: u32,
    /// Good ones that are not delivered.
    pub waiting: u32,
    /// Good ones that took more than 30 s.
    pub late: u32,
    /// The longest that a good one took.
    pub worst: Duration,
    pub dead: u64,
    pub dead_good: usize,
    pub requests: u32,
    pub pages: BTreeSet<String>,
}

impl Process {
    async fn start(
        settings: Settings,
        start: Instant,
        fares: &Fares,
        seen: &Arc<Mutex<Seen>>,
        directory: Option<&Path>,
    ) -> (Arc<Queue>, Self) {
        let first_seq = 1 + u64::from(seen.lock().unwrap().requests) * 1_000_000;
        let queue = Arc::new(Queue::new(settings.limits.clone(), first_seq, None));
        let service = service_fn({
            let (fares, seen) = (Arc::clone(fares), Arc::clone(seen));
            move |batch: Batch| {
                let (seen, at) = (Arc::clone(&seen), start.elapsed());
                let ids: Vec<_> = batch.events.iter().map(id_of).collect();
                let is_bad = batch.events.iter().any(|event| event.starts_with(b"{\"bad"));
                let n = {
                    let mut seen = seen.lock().unwrap();
                    seen.requests += 1;
                    seen.with_first += u32::from(ids.iter().any(|id| *id < 1_000));
                    seen.requests
                };
                let req = Req { n, at, is_bad, ids };
                let (latency, answer) = fares(&req);
                async move {
                    sleep(latency).await;
                    if answer.is_ok() {
                        let mut seen = seen.lock().unwrap();
                        for id in req.ids {
                            seen.delivered.entry(id).or_insert_with(|| start.elapsed());
                        }
                    }
                    answer
                }
            }
        });
        let credentials = Opened::open("phc_test".into()).unwrap().credentials;
        let pipeline = pipeline(&queue, &settings, &credentials, &Protocols::v0(), service).unwrap();
        let monitor = Arc::clone(&pipeline.monitor);
        let monitoring = tokio::spawn(Arc::clone(&monitor).run(credentials.refusals()));
        let disk = Disk::open(&queue, directory).await;
        let worker = tokio::spawn(pipeline.worker.run());
        (queue, Self { monitor, monitoring, worker, disk })
    }
}

fn id_of(event: &Bytes) -> u32 {
    let text = std::str::from_utf8(event).unwrap();
    text.trim_end_matches('}').rsplit(':').next().unwrap().parse().unwrap()
}

/// Runs in simulated time.
pub fn simulate<T>(run: impl AsyncFnOnce(&mut MockClock) -> T) -> T {
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    clock::freeze(|clock| runtime.block_on(run(clock)))
}

/// Waits for other threads. Simulated time stands still, because the runtime is never idle.
async fn in_real_time(is_over: impl Fn() -> bool) {
    while !is_over() {
        tokio::task::yield_now().await;
    }
}

/// The spool of a process, if it has one.
#[cfg(feature = "spool")]
struct Disk(Option<Arc<crate::delivery::Spool>>);

#[cfg(feature = "spool")]
impl Disk {
    async fn open(queue: &Arc<Queue>, directory: Option<&Path>) -> Self {
        let spool = directory.map(|at| crate::delivery::Spool::start(queue, crate::SpoolConfig::at(at)));
        let is_open = |spool: crate::SpoolHealth| spool.state == crate::SpoolState::Ready;
        in_real_time(|| queue.snapshot().spool.is_none_or(is_open)).await;
        Self(spool.map(Arc::new))
    }

    async fn ended(&self) {
        let Some(spool) = self.0.clone() else { return };
        let ended = tokio::spawn(async move { spool.ended().await });
        in_real_time(|| ended.is_finished()).await;
    }
}

#[cfg(not(feature = "spool"))]
struct Disk;

#[cfg(not(feature = "spool"))]
impl Disk {
    async fn open(_: &Arc<Queue>, _: Option<&Path>) -> Self {
        Self
    }

    async fn ended(&self) {}
}

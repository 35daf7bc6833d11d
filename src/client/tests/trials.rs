//! Bad events and outages that a reviewer thought of, each of which once cost good events: in simulated time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use failsafe::clock::{self, MockClock};
use tokio::runtime;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tower::service_fn;

use crate::api::{Accepted, Batch};
use crate::client::pipeline::pipeline;
use crate::config::Settings;
use crate::credentials::Opened;
use crate::delivery::Queue;
use crate::monitor::{Monitor, Severity};
use crate::{Error, ErrorKind};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
type Answer = Result<Accepted, Error>;
const OK: Answer = Ok(Accepted { over_quota: false });

/// A request.
struct Req {
    n: u32,
    /// Since the start.
    at: Duration,
    bad: bool,
    ids: Vec<u32>,
}

type Fares = Arc<dyn Fn(&Req) -> (Duration, Answer) + Send + Sync>;

#[derive(Default)]
struct Seen {
    requests: u32,
    /// Requests in each second.
    by_second: BTreeMap<u64, u32>,
    /// When each was delivered first, and how often.
    delivered: BTreeMap<u32, (Duration, u32)>,
    log: Vec<(Duration, usize, bool, bool)>,
}

struct World {
    queue: Arc<Queue>,
    monitor: Arc<Monitor>,
    seen: Arc<Mutex<Seen>>,
    captured: BTreeMap<u32, (Duration, bool)>,
    start: Instant,
    worker: JoinHandle<()>,
    pages: BTreeSet<String>,
}

impl World {
    fn start(settings: Settings, fares: Fares) -> Self {
        let queue = Arc::new(Queue::new(settings.limits.clone(), 1, None));
        let seen = Arc::<Mutex<Seen>>::default();
        let start = Instant::now();
        let service = service_fn({
            let seen = Arc::clone(&seen);
            move |batch: Batch| {
                let (seen, fares) = (Arc::clone(&seen), Arc::clone(&fares));
                async move {
                    let at = start.elapsed();
                    let events = batch.events();
                    let bad = events.iter().any(|event| event.starts_with(b"{\"bad"));
                    let ids: Vec<u32> = events
                        .iter()
                        .map(|event| {
                            let text = std::str::from_utf8(event).unwrap();
                            text.split(':').nth(1).unwrap().trim_end_matches('}').parse().unwrap()
                        })
                        .collect();
                    let n = {
                        let mut seen = seen.lock().unwrap();
                        seen.requests += 1;
                        *seen.by_second.entry(at.as_secs()).or_default() += 1;
                        seen.requests
                    };
                    let (latency, answer) = fares(&Req { n, at, bad, ids: ids.clone() });
                    sleep(latency).await;
                    let mut seen = seen.lock().unwrap();
                    let now = start.elapsed();
                    seen.log.push((at, ids.len(), bad, answer.is_ok()));
                    if answer.is_ok() {
                        for id in ids {
                            seen.delivered.entry(id).or_insert((now, 0)).1 += 1;
                        }
                    }
                    answer
                }
            }
        });
        let credentials = Opened::open("phc_test".into()).unwrap().credentials;
        let pipeline = pipeline(&queue, &settings, &credentials, service).unwrap();
        let monitor = Arc::clone(&pipeline.monitor);
        tokio::spawn(Arc::clone(&monitor).run(credentials.refusals()));
        let worker = tokio::spawn(pipeline.worker.run());
        Self { queue, monitor, seen, captured: BTreeMap::new(), start, worker, pages: BTreeSet::new() }
    }

    fn capture(&mut self, is_bad: bool) {
        let name = if is_bad { "bad" } else { "good" };
        let id = self.captured.len() as u32;
        self.captured.insert(id, (self.start.elapsed(), is_bad));
        self.queue.enter(format!("{{\"{name}\":{id}}}").into(), SystemTime::now(), None);
    }

    /// Lets time pass, in steps of 100 ms, and does this with the number of each.
    async fn run(&mut self, clock: &mut MockClock, time: Duration, mut each: impl FnMut(&mut Self, u32)) {
        let step = MS * 100;
        for n in 0..(time.as_millis() / 100) as u32 {
            each(self, n);
            clock.advance(step);
            sleep(step).await;
            if n % 10 == 0 {
                for alert in self.monitor.alerts() {
                    if alert.severity == Severity::P1 {
                        let at = self.start.elapsed().as_secs();
                        let name = format!("{:?}", alert.name);
                        if !self.pages.iter().any(|page| page.starts_with(&name)) {
                            self.pages.insert(format!("{name} at {at} s: {}", alert.detail));
                        }
                    }
                }
            }
        }
    }

    fn report(&self) -> Report {
        let seen = self.seen.lock().unwrap();
        let now = self.start.elapsed();
        let (mut worst, mut late, mut waiting, mut bad) = (Duration::ZERO, 0, 0, 0);
        for (id, (at, is_bad)) in &self.captured {
            if *is_bad {
                bad += 1;
                continue;
            }
            let delivered = seen.delivered.get(id);
            let delay = delivered.map_or(now, |d| d.0) - *at;
            worst = worst.max(delay);
            late += u32::from(delay > SECOND * 30);
            waiting += u32::from(delivered.is_none());
        }
        let ledger = self.queue.ledger();
        let double = seen.delivered.values().filter(|d| d.1 > 1).count();
        let dead_good =
            self.queue.dead_letters().iter().filter(|letter| letter.event.starts_with(b"{\"good")).count();
        assert_eq!(
            ledger.captured,
            ledger.delivered + ledger.queued + ledger.spooled + ledger.dead_lettered + ledger.dropped.total()
        );
        Report {
            good: self.captured.len() as u32 - bad,
            bad,
            waiting,
            late,
            worst,
            dead: ledger.dead_lettered,
            dead_good,
            dropped: ledger.dropped.total(),
            double,
            requests: seen.requests,
            most_a_second: seen.by_second.values().copied().max().unwrap_or(0),
            pages: self.pages.clone(),
            worker_ended: self.worker.is_finished(),
        }
    }
}

#[derive(Debug)]
#[allow(dead_code)]
struct Report {
    good: u32,
    bad: u32,
    /// Good ones that are not delivered.
    waiting: u32,
    /// Good ones that took more than 30 s.
    late: u32,
    worst: Duration,
    dead: u64,
    dead_good: usize,
    dropped: u64,
    double: usize,
    requests: u32,
    most_a_second: u32,
    pages: BTreeSet<String>,
    worker_ended: bool,
}

fn simulate<T>(run: impl AsyncFnOnce(&mut MockClock) -> T) -> T {
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    clock::freeze(|clock| runtime.block_on(run(clock)))
}

fn err(kind: ErrorKind, status: u16) -> Answer {
    Err(Error::new(kind).with_status(status))
}

fn provoked(name: &str) -> (Duration, Answer) {
    let ms = MS * 20;
    match name {
        "400" => (ms, err(ErrorKind::BadRequest, 400)),
        "403" => (ms, err(ErrorKind::WrongHost, 403)),
        "413" => (ms, err(ErrorKind::TooLarge, 413)),
        "500" => (ms, err(ErrorKind::Server, 500)),
        "503+120" => {
            let error = Error::new(ErrorKind::Server).with_status(503).with_retry_after(Some(SECOND * 120));
            (ms, Err(error))
        }
        "reset" => (ms, Err(Error::new(ErrorKind::ConnectionLost))),
        "hang" => (SECOND * 1000, Err(Error::new(ErrorKind::ConnectionLost))),
        _ => panic!("{name}"),
    }
}

fn content(name: &'static str) -> Fares {
    Arc::new(move |req| if req.bad { provoked(name) } else { (MS * 20, OK) })
}

fn run(settings: Settings, fares: Fares, seconds: u32, mut each: impl FnMut(&mut World, u32)) -> Report {
    simulate(async |clock| {
        let mut world = World::start(settings, fares);
        world.run(clock, SECOND * seconds, |world, n| each(world, n)).await;
        world.report()
    })
}

/// 1,000 events, each tenth bad, nothing else: whatever the batch, it holds a bad one.
#[test]
fn good_events_pass_though_each_batch_holds_a_bad_one() {
    for name in ["403", "500", "reset"] {
        let report = run(Settings::default(), content(name), 600, |world, n| {
            if n == 0 {
                (0..1_000).for_each(|n| world.capture(n % 10 == 0));
            }
        });
        assert!(report.waiting == 0 && report.worst <= SECOND * 60, "{name} {report:?}");
    }
}

/// 100 events a second, one in a hundred bad.
#[test]
fn a_bad_event_a_second_holds_up_nobody() {
    for name in ["403", "500", "reset"] {
        let report = run(Settings::default(), content(name), 300, |world, n| {
            (0..10).for_each(|m| world.capture(n % 10 == 5 && m == 5));
        });
        assert!(report.late < 300 && report.worst <= SECOND * 60, "{name} {report:?}");
    }
}

/// PostHog refuses everything for a while, twice, and takes about a second to answer.
#[test]
fn two_outages_of_400s_burn_no_good_event() {
    let fares = |req: &Req| {
        let (_, answer) = if (req.at.as_secs() / 97) % 2 == 1 { provoked("400") } else { (MS, OK) };
        (MS * 450 + MS * ((req.n * 7919) % 900), answer)
    };
    let report = run(Settings::default(), Arc::new(fares), 500, |world, n| {
        if n % 4 == 0 {
            world.capture(false);
        }
    });
    assert_eq!(report.dead_good, 0, "{report:?}");
}

/// A whole batch of bad events, while others are accepted.
#[test]
fn a_batch_of_bad_events_becomes_dead_letters() {
    for name in ["400", "403"] {
        let report = run(Settings::default(), content(name), 900, |world, n| {
            if n == 0 {
                (0..100).for_each(|_| world.capture(true));
            }
            world.capture(false);
        });
        assert!(report.dead == 100 && report.requests < 900 + 3_000, "{name} {report:?}");
    }
}

/// Provoked with `Retry-After: 120`. The first answer pauses all, because it may be meant for all; the second pauses nobody.
#[test]
fn a_retry_after_of_a_bad_event_pauses_no_other() {
    let report = run(Settings::default(), content("503+120"), 600, |world, n| world.capture(n == 300));
    assert!(report.late < 1_000, "{report:?}");
}

/// After 7 min without PostHog, one event waits: it is delivered soon after the recovery.
#[test]
fn a_recovery_is_noticed_within_half_a_minute() {
    for (name, every) in [("500", 600), ("hang", 100_000), ("400", 600)] {
        let fares = move |req: &Req| if req.at < SECOND * 420 { provoked(name) } else { (MS * 20, OK) };
        let report = run(Settings::default(), Arc::new(fares), 450, |world, n| {
            if n % every == 1 && n < 4_200 {
                world.capture(false);
            }
        });
        assert_eq!(report.waiting, 0, "{name} {report:?}");
    }
}

/// All is refused, one event a request.
#[test]
fn an_outage_of_400s_is_no_storm_of_single_events() {
    let mut settings = Settings::default();
    settings.limits.batch_events = 1;
    let report = run(settings, Arc::new(|_: &Req| provoked("400")), 600, |world, n| {
        if n == 0 {
            (0..2_000).for_each(|_| world.capture(false));
        }
    });
    assert!(report.requests < 3_000, "{report:?}");
}

/// Four bad events in two hours of one event a minute.
#[test]
fn a_quiet_service_is_not_paged_for_suspects() {
    for (name, bad_every) in [("hang", 30), ("hang", 40)] {
        let mut count = 0;
        let report = run(Settings::default(), content(name), 7_200, |world, n| {
            if n % 600 == 0 {
                world.capture(count % bad_every == 1);
                count += 1;
            }
        });
        assert!(report.pages.is_empty() && report.late == 0, "{name} {report:?}");
    }
}

/// Two requests at once: the first is accepted, and everything after it is refused.
#[test]
fn a_switch_to_400_with_two_requests_in_flight_burns_no_good_event() {
    let mut settings = Settings::default();
    settings.limits.batch_events = 1;
    let fares =
        |req: &Req| (MS * (20 + req.n), if req.n == 1 { OK } else { err(ErrorKind::BadRequest, 400) });
    let report = run(settings, Arc::new(fares), 60, |world, n| {
        if n == 0 {
            (0..2).for_each(|_| world.capture(false));
        }
    });
    assert_eq!(report.dead_good, 0, "{report:?}");
}

/// 400 and 503 in turns for a quarter of an hour.
#[test]
fn rejections_among_failures_are_never_hopeless() {
    let fares = |req: &Req| provoked(if req.n.is_multiple_of(2) { "400" } else { "500" });
    let report = run(Settings::default(), Arc::new(fares), 1_200, |world, _| world.capture(false));
    assert_eq!(report.dead_good, 0, "{report:?}");
}

/// A shutdown while a batch with a bad event waits, and nothing else: the good ones beside it.
#[test]
fn a_shutdown_delivers_what_a_bad_event_held_up() {
    for name in ["500", "reset"] {
        let report = run(Settings::default(), content(name), 22, |world, n| match n {
            0 => (0..100).for_each(|n| world.capture(n == 50)),
            20 => drop(world.queue.close()),
            _ => {}
        });
        assert!(report.waiting <= 10, "{name} {report:?}");
    }
}

/// Where a bad event comes now and then, nobody is paged, and nothing waits.
#[test]
fn a_bad_event_each_ten_seconds_pages_nobody() {
    for name in ["400", "403", "413", "500", "reset"] {
        let report = run(Settings::default(), content(name), 1_200, |world, n| world.capture(n % 100 == 50));
        assert!(report.late == 0 && report.pages.is_empty() && report.dead_good == 0, "{name} {report:?}");
        assert!(report.requests < 1_200 + 30 * report.bad, "{name} {report:?}");
    }
}

/// The breaker opens on one batch while a slow attempt is on its way that is accepted.
#[test]
fn suspects_are_not_left_alone_behind_an_open_breaker() {
    let report = simulate(async |clock| {
        let fares = move |req: &Req| match (req.ids.len(), req.at < SECOND * 20) {
            (1, _) => (SECOND * 3, OK),
            (_, true) => (MS * 20, err(ErrorKind::Server, 503)),
            (_, false) => (MS * 20, OK),
        };
        let mut world = World::start(Settings::default(), Arc::new(fares));
        (0..50).for_each(|_| world.capture(false));
        world.run(clock, MS * 13_500, |_, _| {}).await;
        world.capture(false);
        world.queue.flush();
        world.run(clock, SECOND * 3600, |_, _| {}).await;
        world.queue.flush();
        world.queue.close();
        world.run(clock, SECOND * 600, |_, _| {}).await;
        world.report()
    });
    assert_eq!(report.waiting, 0, "{report:?}");
}

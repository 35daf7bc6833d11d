//! Kills processes while they capture events, again and again, and counts what that cost.
//!
//! `cargo run --release --example crash_proof -- --rounds 100` (`--seed S` for other moments).
//!
//! Each round starts a process that captures as fast as it can into one spool directory, while PostHog flaps:
//! up, 503, hanging, hanging up, answering too late, gone. `kill -9` meets the process at a random moment, also
//! while it opens the spool; in every fourth round there are two side by side. The next one takes over the
//! directory. At last PostHog is well, and the books are closed: each event for which `capture_durable` said
//! `Ok` must have arrived, each that arrived must be what was captured, and the ledger must balance.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fastrand::Rng;
use posthog_health::layers::{CircuitBreakerConfig, RateLimitConfig, RetryConfig};
use posthog_health::testing::{FakePostHog, Reply, Route};
use posthog_health::{Event, Ledger, PostHog, SpoolConfig, SpoolMode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const MS: fn(u64) -> Duration = Duration::from_millis;
/// A process that has not acknowledged an event by then hangs.
const FIRST_ACKNOWLEDGEMENT: Duration = Duration::from_secs(20);
const DRAIN: Duration = Duration::from_secs(60);
const SHUTDOWN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["capture", process, mode, url, directory] => capture(process, mode, url, directory).map(|()| true),
        _ => options(&args).and_then(|(rounds, seed)| crash(rounds, seed)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn options(args: &[&str]) -> Outcome<(usize, u64)> {
    let (mut rounds, mut seed) = (20, 0);
    for pair in args.chunks(2) {
        match pair {
            ["--rounds", value] => rounds = value.parse()?,
            ["--seed", value] => seed = value.parse()?,
            _ => return Err("usage: crash_proof [--rounds N] [--seed S]".into()),
        }
    }
    Ok((rounds, seed))
}

/// The whole story. Whether all is well.
fn crash(rounds: usize, seed: u64) -> Outcome<bool> {
    let started = Instant::now();
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir()?);
    let mut rng = Rng::with_seed(seed);
    let weather_rng = rng.fork();
    let mut books = Books::default();
    thread::scope(|scope| {
        // However this ends, the weather ends with it.
        let (_goes_on, is_over) = mpsc::channel();
        scope.spawn(|| weather(&server, weather_rng, is_over));
        capture_and_kill(rounds, &server, directory.path(), &mut rng, &mut books)
    })?;
    server.recover();
    println!("PostHog is well; one more process takes over what is left.");
    let ledger = drain(&server, directory.path(), &mut books)?;
    books.read_arrivals(&server);
    books.complaints.extend(damaged_files(directory.path())?);
    Ok(books.close(rounds, &ledger, started.elapsed()))
}

fn capture_and_kill(
    rounds: usize,
    server: &FakePostHog,
    directory: &Path,
    rng: &mut Rng,
    books: &mut Books,
) -> Outcome {
    for round in 0..rounds {
        let mode = [SpoolMode::Overflow, SpoolMode::WriteAhead][round % 2];
        let side_by_side = if round % 4 == 3 { 2 } else { 1 };
        let mut victims = Vec::new();
        for _ in 0..side_by_side {
            victims.push(Victim::start(books.processes, mode, &server.url(), directory)?);
            books.processes += 1;
        }
        let mut told = Vec::new();
        for victim in victims {
            let (moment, acknowledged) = victim.kill_at_random(rng, books);
            told.push(format!("{moment}, {} acknowledged", acknowledged.len()));
            books.acknowledged.extend(acknowledged);
        }
        if rounds <= 20 || (round + 1) % 10 == 0 {
            println!("round {:>3}  {mode:?}: {}", round + 1, told.join("; "));
        }
    }
    Ok(())
}

/// PostHog is one thing for a while, then another.
fn weather(server: &FakePostHog, mut rng: Rng, is_over: Receiver<()>) {
    while is_over.recv_timeout(MS(rng.u64(20..300))) == Err(RecvTimeoutError::Timeout) {
        server.recover();
        match rng.u8(0..10) {
            0 => drop(server.batch().always(Reply::status(503))),
            1 => drop(server.batch().always(Reply::hang())),
            2 => drop(server.batch().always(Reply::close())),
            3 => drop(server.batch().always(Reply::reset())),
            4 => server.refuse(),
            // It takes the events, and the client does not wait for the answer: duplicates.
            5 => drop(server.batch().always(Reply::normal().delayed(MS(300)))),
            _ => {}
        }
    }
}

/// A process that captures, and is going to be killed. No way out leaves it running.
struct Victim {
    process: Child,
    reader: Option<JoinHandle<Vec<String>>>,
    has_acknowledged: Receiver<()>,
}

impl Victim {
    fn start(number: usize, mode: SpoolMode, url: &str, directory: &Path) -> Outcome<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["capture", &number.to_string(), &format!("{mode:?}"), url])
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().ok_or("the process has no stdout")?;
        let (first, has_acknowledged) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut acknowledged = Vec::new();
            let mut lines = BufReader::new(stdout);
            let mut line = String::new();
            // A line without an end was cut off by the kill: it says nothing.
            while lines.read_line(&mut line).is_ok() && line.ends_with('\n') {
                acknowledged.push(line.trim_end().to_owned());
                line.clear();
                let _ = first.send(());
            }
            acknowledged
        });
        Ok(Self { process, reader: Some(reader), has_acknowledged })
    }

    /// Tells when, and what was acknowledged until then.
    fn kill_at_random(mut self, rng: &mut Rng, books: &mut Books) -> (String, Vec<String>) {
        let moment = if rng.u8(0..5) == 0 {
            let after = rng.u64(0..60);
            thread::sleep(MS(after));
            format!("killed {after} ms after its start")
        } else if self.has_acknowledged.recv_timeout(FIRST_ACKNOWLEDGEMENT).is_ok() {
            let after = rng.u64(20..400);
            thread::sleep(MS(after));
            format!("killed {after} ms after its first word")
        } else {
            books.complaints.push(format!("a process said nothing for {FIRST_ACKNOWLEDGEMENT:?}"));
            "killed for its silence".to_owned()
        };
        if let Ok(Some(status)) = self.process.try_wait() {
            books.complaints.push(format!("a process ended before it was killed: {status}"));
        }
        self.end();
        let acknowledged = self.reader.take().and_then(|reader| reader.join().ok());
        (moment, acknowledged.unwrap_or_default())
    }

    fn end(&mut self) {
        // Both fail only when it has ended already. On Unix, this is SIGKILL.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a process does until it is killed. `stdout` says which events are acknowledged.
#[tokio::main]
async fn capture(process: &str, mode: &str, url: &str, directory: &str) -> Outcome {
    abort_on_panic();
    let process = process.parse()?;
    let mode = if mode == "WriteAhead" { SpoolMode::WriteAhead } else { SpoolMode::Overflow };
    let posthog = client(url, Path::new(directory), mode)?;
    for task in 1..=DURABLE_TASKS {
        let posthog = posthog.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let uuid = uuid(process, task, number);
                match posthog.capture_durable(content(&uuid).into_event()).await {
                    // Not even a parent that is gone keeps this process.
                    Ok(()) => writeln!(std::io::stdout(), "{uuid}").unwrap_or_else(|_| std::process::exit(1)),
                    Err(_) => tokio::time::sleep(MS(1)).await,
                }
            }
        });
    }
    let mut tick = tokio::time::interval(MS(5));
    for number in 0.. {
        if number % 25 == 0 {
            tick.tick().await;
        }
        posthog.capture(content(&uuid(process, 0, number)).into_event());
    }
    Ok(())
}

const DURABLE_TASKS: usize = 16;

/// A panic, be it in a task that nobody waits for, ends the process, so that it is noticed.
fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
}

/// A client that finds out soon that PostHog is back.
fn client(url: &str, directory: &Path, mode: SpoolMode) -> Outcome<PostHog> {
    let posthog = PostHog::builder(FakePostHog::TOKEN)
        .host(url)
        .linger(MS(10))
        .request_timeout(MS(150))
        .retry(RetryConfig::default().backoff(MS(5), MS(50)))
        .circuit_breaker(CircuitBreakerConfig::default().open_time(MS(10), MS(50)))
        .rate_limit(RateLimitConfig::default().rate(1_000).burst(1_000).pause(MS(5), MS(50)))
        .refusal_pause(MS(50))
        .queue_events(2_000)
        .spool(SpoolConfig::at(directory).mode(mode))
        .build()?;
    Ok(posthog)
}

/// Delivers what all the processes left behind.
#[tokio::main]
async fn drain(server: &FakePostHog, directory: &Path, books: &mut Books) -> Outcome<Ledger> {
    let posthog = client(&server.url(), directory, SpoolMode::Overflow)?;
    let deadline = Instant::now() + DRAIN;
    loop {
        let ledger = posthog.stats();
        books.check(&ledger);
        // Files that processes side by side left behind are taken over one by one.
        let has_arrived = server.distinct() >= books.acknowledged.len() && books.missing(server) == 0;
        if has_arrived && ledger.spooled + ledger.queued == 0 {
            break;
        }
        if Instant::now() > deadline {
            books.complaints.push(format!("not all was delivered in {DRAIN:?}: {ledger}"));
            break;
        }
        tokio::time::sleep(MS(20)).await;
    }
    posthog.shutdown(SHUTDOWN).await;
    books.check(&posthog.stats());
    Ok(posthog.stats())
}

/// An event's uuid tells which one it is.
fn uuid(process: usize, task: usize, number: u64) -> String {
    format!("{process:08x}-{task:04x}-4000-8000-{number:012x}")
}

/// What is in an event. It follows from the uuid, so whoever receives one knows whether it is whole.
struct Content {
    uuid: String,
    name: String,
    user: String,
    properties: Map<String, Value>,
}

fn content(uuid: &str) -> Content {
    let seed = uuid.bytes().fold(0, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut rng = Rng::with_seed(seed);
    let length = rng.usize(0..200);
    let text: String = std::iter::repeat_with(|| rng.char('\0'..'\u{3000}')).take(length).collect();
    let numbers: Vec<i64> = std::iter::repeat_with(|| rng.i64(..)).take(length % 8).collect();
    let properties = json!({ "uuid": uuid, "text": text, "nested": { "numbers": numbers } });
    Content {
        uuid: uuid.to_owned(),
        name: format!("event {}", rng.u8(0..5)),
        user: format!("user-{}", rng.u16(0..1_000)),
        properties: properties.as_object().cloned().unwrap_or_default(),
    }
}

impl Content {
    fn into_event(self) -> Event {
        let mut event = Event::new(self.name, self.user);
        event.set_uuid(self.uuid.parse().expect("the uuid is one"));
        for (name, value) in self.properties {
            event.insert_prop(name, value).expect("a JSON value is JSON");
        }
        event
    }
}

/// What was promised, and what came.
#[derive(Default)]
struct Books {
    processes: usize,
    acknowledged: HashSet<String>,
    arrived: HashMap<String, Arrivals>,
    corrupt: usize,
    /// What else must not be.
    complaints: Vec<String>,
}

struct Arrivals {
    count: usize,
    timestamp: String,
}

#[derive(Deserialize)]
struct Body {
    batch: Vec<Arrived>,
}

/// An event on the wire.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arrived {
    uuid: String,
    event: String,
    distinct_id: String,
    timestamp: String,
    properties: Map<String, Value>,
}

impl Books {
    /// Acknowledged events that the server does not have.
    fn missing(&self, server: &FakePostHog) -> usize {
        let counts = server.uuid_counts();
        self.acknowledged.iter().filter(|uuid| !counts.contains_key(*uuid)).count()
    }

    fn read_arrivals(&mut self, server: &FakePostHog) {
        let mut enrichment = None;
        let requests = server.requests();
        // No other reply than PostHog's own is scripted to have this status.
        let taken = requests.iter().filter(|it| it.route == Route::Batch && it.status == Some(200));
        for request in taken {
            match serde_json::from_slice::<Body>(&request.body) {
                Ok(body) => body.batch.into_iter().for_each(|event| self.enter(event, &mut enrichment)),
                Err(error) => self.complaints.push(format!("a batch that cannot be read: {error}")),
            }
        }
        let arrivals: usize = self.arrived.values().map(|arrivals| arrivals.count).sum();
        let (ours, theirs) = ((self.arrived.len(), arrivals), (server.distinct(), server.accepted()));
        if ours != theirs {
            self.complaints.push(format!("counted {ours:?}, the server {theirs:?}"));
        }
    }

    /// `enrichment` is what the library adds to each event: always the same, but for the operating system, whose name is
    /// more exact once it is known.
    fn enter(&mut self, event: Arrived, enrichment: &mut Option<Map<String, Value>>) {
        let Arrived { uuid, event, distinct_id, timestamp, properties } = event;
        let (mut added, own): (Map<_, _>, Map<_, _>) =
            properties.into_iter().partition(|(name, _)| name.starts_with('$'));
        let has_system = added.remove("$os").is_some_and(|name| name.is_string());
        added.remove("$os_version");
        let expected = content(&uuid);
        let is_whole = self.was_captured(&uuid)
            && has_system
            && (event, distinct_id, own) == (expected.name, expected.user, expected.properties)
            && *enrichment.get_or_insert_with(|| added.clone()) == added;
        let arrivals =
            self.arrived.entry(uuid).or_insert_with(|| Arrivals { count: 0, timestamp: timestamp.clone() });
        arrivals.count += 1;
        if !is_whole || arrivals.timestamp != timestamp {
            self.corrupt += 1;
        }
    }

    /// Whether one of our processes may have captured it.
    fn was_captured(&self, text: &str) -> bool {
        let part = |range| text.get(range).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let (Some(process), Some(task), Some(number)) = (part(0..8), part(9..13), part(24..36)) else {
            return false;
        };
        let (process, task) = (process as usize, task as usize);
        process < self.processes && task <= DURABLE_TASKS && uuid(process, task, number) == text
    }

    fn check(&mut self, ledger: &Ledger) {
        let Ledger { captured, delivered, queued, spooled, dead_lettered, dropped, .. } = ledger;
        if *captured != delivered + queued + spooled + dead_lettered + dropped.total() {
            self.complaints.push(format!("the ledger does not balance: {ledger:?}"));
        }
    }

    /// Prints it all. Whether all is well.
    fn close(&self, rounds: usize, ledger: &Ledger, took: Duration) -> bool {
        let extra = self.arrived.values().map(|arrivals| arrivals.count - 1);
        let (repeated, extra) = (extra.clone().filter(|extra| *extra > 0).count(), extra.sum::<usize>());
        let lost = self.acknowledged.iter().filter(|uuid| !self.arrived.contains_key(*uuid)).count();
        let dropped: BTreeMap<_, _> =
            ledger.dropped.iter().map(|(reason, count)| (reason.as_str(), count)).collect();
        println!();
        println!("killed         {} processes in {:.1} s", self.processes, took.as_secs_f64());
        println!("acknowledged   {} events by capture_durable", self.acknowledged.len());
        println!("delivered      {} events in {} arrivals", self.arrived.len(), self.arrived.len() + extra);
        println!("ledger         {ledger}");
        println!("dropped        {dropped:?}");
        for complaint in self.complaints.iter().take(10) {
            println!("WRONG          {complaint}");
        }
        println!("duplicates={repeated} ({extra} arrivals too many)");
        let (acknowledged, delivered, corrupt) = (self.acknowledged.len(), self.arrived.len(), self.corrupt);
        println!(
            "rounds={rounds} acknowledged={acknowledged} delivered={delivered} lost={lost} corrupt={corrupt}"
        );
        lost + corrupt + self.complaints.len() == 0
    }
}

/// A killed process leaves nothing that is taken for damage.
fn damaged_files(directory: &Path) -> Outcome<Vec<String>> {
    let files = std::fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    let names = files.into_iter().map(|file| file.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name.contains("damaged")).map(|name| format!("{name} was set aside")).collect())
}

//! What an outage of PostHog costs: events lost, and requests sent meanwhile. See README.md beside it.

mod support;

use std::process::exit;
use std::time::{Duration, Instant};

use posthog_health::testing::{FakePostHog, Reply, Request, Route};
use support::{Arguments, Row, event, ours, print_machine, print_table, seconds, server, theirs};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

const RATE: u32 = 200;
const WARM_UP: u64 = 5;
const LONGEST_DRAIN: Duration = Duration::from_secs(60);
/// 60 s of this rate are more than the default of either.
const QUEUE: usize = 20_000;
const REQUESTS: &str = "requests in the outage";

fn main() {
    let Some(arguments) = Arguments::read() else { return };
    let seconds =
        arguments.value("--seconds").map_or(60, |value| value.parse().expect("a number of seconds"));
    let fault = Fault::named(arguments.value("--fault").unwrap_or("503"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let good = runtime.block_on(run(seconds, &fault));
    // Dropping the SDK's client may block.
    exit(i32::from(!good));
}

/// How PostHog is away.
struct Fault {
    name: String,
    /// `None`: nobody listens.
    reply: Option<Reply>,
}

impl Fault {
    fn named(name: &str) -> Self {
        let reply = match name {
            "503" => Some(Reply::status(503)),
            "429" => Some(Reply::status(429)),
            "hang" => Some(Reply::hang()),
            "close" => Some(Reply::close()),
            "refuse" => None,
            other => panic!("--fault is 503, 429, hang, close or refuse, not {other}"),
        };
        Self { name: name.to_owned(), reply }
    }

    fn strike(&self, server: &FakePostHog) {
        match &self.reply {
            Some(reply) => server.always(reply.clone()),
            None => server.refuse(),
        }
    }

    /// The requirement speaks of a minute and of a PostHog that answers. One that hangs holds up the SDK, which sends
    /// one request at a time.
    fn must_be_a_tenth(&self, outage: u64) -> bool {
        outage >= 60 && matches!(self.name.as_str(), "503" | "429" | "close")
    }

    /// Refused ones are seen by nobody.
    fn requests(&self, ours: usize, theirs: usize) -> Row {
        match self.reply {
            Some(_) => Row::count(REQUESTS, ours, theirs),
            None => Row::words(REQUESTS, "not seen", "not seen"),
        }
    }
}

async fn run(outage: u64, fault: &Fault) -> bool {
    println!(
        "{WARM_UP} s of healthy traffic, {outage} s of {}, recovery; {RATE} events/s all along; then both are asked to flush.",
        fault.name
    );
    println!(
        "Both clients at once, each with a server of its own. Defaults, but queues of {QUEUE} events.\n"
    );
    let (our_server, their_server) = (server(), server());
    let our_client = ours(&our_server).queue_events(QUEUE).build().expect("a good configuration");
    let their_client = theirs(&their_server, QUEUE).await;
    let traffic = async |seconds| {
        let mut ticks = interval(Duration::from_secs(1) / RATE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let events = seconds as usize * RATE as usize;
        for number in 0..events {
            ticks.tick().await;
            let event = event(number);
            our_client.capture(event.clone());
            their_client.capture(event);
        }
        events
    };

    let warm_up = traffic(WARM_UP).await;
    let before = [&our_server, &their_server].map(|server| {
        fault.strike(server);
        server.request_count(Route::Batch)
    });
    let during = traffic(outage).await;
    let recovered = Instant::now();
    let [our_side, their_side] =
        [(&our_server, before[0]), (&their_server, before[1])].map(|(server, before)| {
            let requests = server.request_count(Route::Batch) - before;
            server.recover();
            Side { server, captured: warm_up + during, requests, recovered }
        });

    let our_drain = async {
        let _ = our_client.flush().await;
        while our_client.stats().queued > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::join!(timeout(LONGEST_DRAIN, our_drain), timeout(LONGEST_DRAIN, their_client.flush()));

    let (lost, their_lost) = (our_side.lost(), their_side.lost());
    let percent = |lost| format!("{:.1} %", 100.0 * lost as f64 / during as f64);
    print_table(&[
        Row::count("events captured in the outage", during, during),
        Row::count("events lost", lost, their_lost),
        Row::words("lost, of the outage's events", percent(lost), percent(their_lost)),
        fault.requests(our_side.requests, their_side.requests),
        Row::words(
            "recovery to first delivery",
            seconds(our_side.first_delivery()),
            seconds(their_side.first_delivery()),
        ),
        Row::words("recovery to last delivery", seconds(our_side.drained()), seconds(their_side.drained())),
        Row::count("duplicates", our_side.duplicates(), their_side.duplicates()),
    ]);
    println!("our ledger: {}", our_client.stats());
    let kept = require(lost == 0, &format!("posthog-health must lose none, it lost {lost}"));
    let calm = !fault.must_be_a_tenth(outage)
        || require(
            our_side.requests * 10 <= their_side.requests,
            &format!(
                "posthog-health must send at most a tenth of the requests, it sent {} and posthog-rs {}",
                our_side.requests, their_side.requests
            ),
        );
    print_machine(&their_server);
    kept && calm
}

/// What one server saw.
struct Side<'a> {
    server: &'a FakePostHog,
    captured: usize,
    /// In the outage.
    requests: usize,
    recovered: Instant,
}

impl Side<'_> {
    fn lost(&self) -> usize {
        self.captured - self.server.distinct()
    }

    fn duplicates(&self) -> usize {
        self.server.accepted() - self.server.distinct()
    }

    fn first_delivery(&self) -> Option<Duration> {
        self.deliveries().into_iter().min()
    }

    fn drained(&self) -> Option<Duration> {
        self.deliveries().into_iter().max()
    }

    /// After the recovery.
    fn deliveries(&self) -> Vec<Duration> {
        let delivered = |request: &Request| {
            let accepted = request.route == Route::Batch && request.status == Some(200);
            accepted.then(|| request.at.checked_duration_since(self.recovered)).flatten()
        };
        self.server.requests().iter().filter_map(delivered).collect()
    }
}

fn require(met: bool, otherwise: &str) -> bool {
    if !met {
        eprintln!("NOT MET: {otherwise}");
    }
    met
}

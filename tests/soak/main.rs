//! Ten minutes of everything at once: random faults of PostHog, random calls from many tasks, a client with a spool and
//! one without. At the end nothing may be missing, and nothing of ours may be left.
//!
//! The sockets of [`FakePostHog`] are real, and so is their time. So time is scaled: every configured time is a
//! [thirtieth](scaled) of its default, rates are thirty times theirs, and ten minutes take 20 seconds. What is bounded is
//! how long it goes on and how much it captures; how quick anything is, nobody asks.
//!
//! `SOAK_SEED` repeats what was drawn (not how threads took turns), `SOAK_SECONDS` makes it longer.

mod callers;
mod faults;
mod left;

use std::collections::HashSet;
use std::env;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use posthog_health::layers::{CircuitBreakerConfig, RateLimitConfig, RetryConfig};
use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{FlagsConfig, Ledger, PostHog, PostHogBuilder, ShutdownReport, SpoolConfig};
use tokio::time::{sleep, timeout};

use callers::Callers;
use left::Left;

/// How often a default goes into the time that stands for it here.
const SCALE: u32 = 30;
const SIMULATED: Duration = Duration::from_secs(600);

/// For what must come, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

fn scaled(default: Duration) -> Duration {
    default / SCALE
}

fn seconds(default: u64) -> Duration {
    scaled(Duration::from_secs(default))
}

#[test]
fn ten_minutes_of_faults_and_calls() {
    let seed = env::var("SOAK_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    let length =
        env::var("SOAK_SECONDS").map_or(scaled(SIMULATED), |s| Duration::from_secs(s.parse().unwrap()));
    println!("SOAK_SEED={seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .thread_keep_alive(Duration::from_millis(100))
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let before = Left::now();
        let memory = tokio::spawn(left::memory(length));
        let mut rng = Rng::with_seed(seed);
        let (one, other) = (rng.fork(), rng.fork());
        let spooled = tokio::spawn(with_a_spool(one, length));
        let in_memory = tokio::spawn(in_memory(other, length));
        spooled.await.unwrap();
        in_memory.await.unwrap();
        memory.await.unwrap();
        before.comes_back().await;
    });
}

/// What both have in common.
fn builder(server: &FakePostHog) -> PostHogBuilder {
    let breaker = CircuitBreakerConfig::default().open_time(seconds(1), seconds(10));
    PostHog::builder(callers::tokens())
        .host(server.url())
        .linger(seconds(1))
        .queue_events(2_000)
        .queue_bytes(4 << 20)
        .request_timeout(seconds(10))
        .retry(RetryConfig::default().backoff(scaled(Duration::from_millis(500)), seconds(30)))
        .circuit_breaker(breaker.clone())
        .rate_limit(RateLimitConfig::default().rate(50 * SCALE).pause(seconds(1), seconds(30)))
        .longest_retry_after(seconds(300))
        .refusal_pause(seconds(60))
        .flush_timeout(seconds(10))
        .probe_timeout(seconds(2))
        .probe_cache(seconds(10))
        .flags(FlagsConfig::default().timeout(seconds(1)).circuit_breaker(breaker))
}

async fn in_memory(mut rng: Rng, length: Duration) {
    let server = Arc::new(FakePostHog::start());
    server.keep_bodies(false);
    let posthog = builder(&server).build().unwrap();
    let callers = Callers::start(&posthog, rng.fork(), length);
    faults::play(&server, rng, length, faults::Loss::Allowed).await;
    callers.end().await;
    faults::end(&server);
    settled(&posthog).await;
    let report = posthog.shutdown(PATIENCE).await;
    let ledger = balanced(posthog.stats());
    println!("in memory: {}", told(ledger, report));
    assert_eq!((ledger.queued, ledger.spooled), (0, 0));
    assert_delivered(&server, ledger);
    drop(posthog);
    closed(&server).await;
}

/// The first process ends while PostHog does as it likes; the next one delivers what is left.
async fn with_a_spool(mut rng: Rng, length: Duration) {
    let (server, disk) = (Arc::new(FakePostHog::start()), tempfile::tempdir().unwrap());
    server.keep_bodies(false);
    let posthog = start(&server, disk.path());
    let callers = Callers::start(&posthog, rng.fork(), length);
    faults::play(&server, rng.fork(), length, faults::Loss::Never).await;
    let mut durable = callers.end().await;
    // Not by luck alone: something is left for the next one.
    server.always(Reply::status(503));
    durable.extend(callers::capture_durably(&posthog, &mut rng, 200).await);
    let report = posthog.shutdown(Duration::from_millis(rng.u64(..500))).await;
    let ledger = balanced(posthog.stats());
    println!("spooled, first process: {}", told(ledger, report));
    assert!(ledger.queued == 0 && ledger.spooled > 0, "{ledger:?}");
    drop(posthog);
    closed(&server).await;

    faults::end(&server);
    let posthog = start(&server, disk.path());
    until(|| posthog.stats().captured >= ledger.captured).await;
    settled(&posthog).await;
    while posthog.replay_dead_letters() > 0 {
        settled(&posthog).await;
    }
    let report = posthog.shutdown(PATIENCE).await;
    let ledger = balanced(posthog.stats());
    println!("spooled, next process: {}", told(ledger, report));
    assert_eq!((ledger.queued, ledger.spooled), (0, 0));
    assert_delivered(&server, ledger);
    let accepted: HashSet<String> = server.uuid_counts().into_keys().collect();
    let lost: Vec<_> = durable.iter().filter(|uuid| !accepted.contains(*uuid)).collect();
    assert!(
        !durable.is_empty() && lost.is_empty(),
        "{} of {} were acknowledged and are lost: {lost:?}",
        lost.len(),
        durable.len()
    );
    drop(posthog);
    closed(&server).await;
}

fn start(server: &FakePostHog, directory: &Path) -> PostHog {
    let spool = SpoolConfig::at(directory).min_free_disk(0);
    // None gives way: what was acknowledged must be there.
    let posthog = builder(server).spool(spool).event_bytes(callers::LARGEST);
    posthog.dead_letter_events(1_000_000).dead_letter_bytes(1 << 30).build().unwrap()
}

/// Waits until nothing is on its way any more.
async fn settled(posthog: &PostHog) {
    let gone = async {
        while posthog.stats().queued + posthog.stats().spooled > 0 {
            let _ = posthog.flush().await;
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap_or_else(|_| panic!("{}\n{}", posthog.stats(), posthog.health()));
}

fn told(ledger: Ledger, report: ShutdownReport) -> String {
    format!("{} {report:?}", serde_json::to_string(&ledger).unwrap())
}

fn balanced(ledger: Ledger) -> Ledger {
    let Ledger { captured, delivered, queued, spooled, dead_lettered, dropped, .. } = ledger;
    assert_eq!(captured, delivered + queued + spooled + dead_lettered + dropped.total(), "{ledger:?}");
    ledger
}

/// PostHog has what is counted as delivered. What else it has are events whose answers were lost on the way, and that
/// were then dropped or set aside.
fn assert_delivered(server: &FakePostHog, ledger: Ledger) {
    let (distinct, Ledger { delivered, dead_lettered, dropped, .. }) = (server.distinct() as u64, ledger);
    let most = delivered + dead_lettered + dropped.total();
    assert!(delivered > 0 && (delivered..=most).contains(&distinct), "{distinct} arrived: {ledger:?}");
}

async fn until(condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waited).await.expect("it never came");
}

async fn closed(server: &FakePostHog) {
    let closed = timeout(PATIENCE, server.wait_for_connections_closed());
    closed.await.unwrap_or_else(|_| panic!("{} connections are left", server.open_connections()));
}

fn is_over(started: Instant, length: Duration) -> bool {
    started.elapsed() >= length
}

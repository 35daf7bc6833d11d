//! What waiting costs: callers of a saturated limit, many of them, and a balancer that has a dead endpoint. In real time, and
//! so apart from `layers`.
//!
//! `cargo bench --bench layers_waiting -- [--only saturated|many|balance]`

#[path = "../support/mod.rs"]
mod support;

mod balance;

use std::fmt::Debug;
use std::future::{Ready, ready};
use std::time::{Duration, Instant};

use posthog_health::layers::{RateLimitConfig, RateLimitLayer, Verdict, WaitIn};
use support::times::{Times, cpu_time};
use support::{cells, nanos, print_columns};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};
use tower::buffer::Buffer;
use tower::limit::RateLimit;
use tower::limit::rate::Rate;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_resilience::ratelimiter::RateLimiterLayer;

/// How long each subject runs.
const TIME: Duration = Duration::from_secs(4);

/// A service behind a limit.
trait Limited: Service<(), Response = (), Error: Debug + Send, Future: Send> + Clone + Send + 'static {}
impl<S: Service<(), Response = (), Error: Debug + Send, Future: Send> + Clone + Send + 'static> Limited
    for S
{
}

fn main() {
    let Some(arguments) = support::Arguments::read() else { return };
    let only = arguments.value("--only");
    let is_wanted = |name| only.is_none_or(|only| only == name);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        if is_wanted("saturated") {
            saturated().await;
        }
        if is_wanted("many") {
            many().await;
        }
        if is_wanted("balance") {
            balance::print().await;
        }
    });
}

/// Each caller calls again as soon as it is answered.
async fn saturated() {
    for (callers, rate) in [(20, 200), (100, 1_000), (200, 1_000)] {
        println!(
            "{callers} callers of a service that takes no time, {rate} calls a second. Burst 1, or the calls of 50 ms.\n"
        );
        let mut lines = vec![cells!["", "of the rate", "p99", "longest", "calls of a caller"]];
        for (name, found) in all(callers, rate).await {
            let share = f64::from(found.calls) / (f64::from(rate) * TIME.as_secs_f64());
            let p99 = nanos(found.waits.percentile(0.99) as f64);
            let longest = nanos(found.longest.as_nanos() as f64);
            let (least, most) = found.calls_of_a_caller;
            let spread = format!("{least} to {most}");
            lines.push(cells![name, format!("{:.1} %", 100.0 * share), p99, longest, spread]);
        }
        print_columns(&lines);
    }
}

async fn many() {
    const CALLERS: u32 = 5_000;
    const RATE: u32 = 1_000;
    println!("{CALLERS} callers, {RATE} calls a second.\n");
    let mut lines = vec![cells!["", "of a core", "CPU of a call", "of the rate"]];
    for (name, found) in all(CALLERS, RATE).await {
        let share = |of: f64, whole: f64| format!("{:.1} %", 100.0 * of / whole);
        let time = TIME.as_secs_f64();
        let cpu = found.cpu.as_secs_f64();
        lines.push(cells![
            name,
            share(cpu, time),
            nanos(cpu * 1e9 / f64::from(found.calls.max(1))),
            share(f64::from(found.calls), f64::from(RATE) * time)
        ]);
    }
    print_columns(&lines);
}

async fn all(callers: u32, rate: u32) -> Vec<(&'static str, Found)> {
    vec![
        ("ours", run(callers, ours(rate, 1, WaitIn::Call)).await),
        ("ours, not ready", run(callers, ours(rate, 1, WaitIn::PollReady)).await),
        ("tower's Buffer + RateLimit", run(callers, towers(callers, 1, per(rate))).await),
        ("tower-resilience", run(callers, theirs(rate, 1, false)).await),
        ("tower-resilience, not ready", run(callers, theirs(rate, 1, true)).await),
        ("ours, burst of 50 ms", run(callers, ours(rate, rate / 20, WaitIn::Call)).await),
        ("tower's, by 50 ms", run(callers, towers(callers, rate / 20, per(20))).await),
        ("tower-resilience, by 50 ms", run(callers, theirs(rate, rate / 20, false)).await),
    ]
}

fn per(rate: u32) -> Duration {
    Duration::from_secs(1) / rate
}

type Nothing = fn(()) -> Ready<Result<(), BoxError>>;

fn nothing() -> tower::util::ServiceFn<Nothing> {
    service_fn(|()| ready(Ok(())))
}

fn ours(rate: u32, burst: u32, wait_in: WaitIn) -> impl Limited {
    let config = RateLimitConfig::default().rate(rate).burst(burst);
    let classify = |_: Result<&(), &BoxError>| Verdict::Success;
    RateLimitLayer::new(config, classify).expect("valid").wait_in(wait_in).layer(nothing())
}

/// As many calls at once as it counts in one period: its burst.
fn towers(callers: u32, calls: u32, period: Duration) -> impl Limited {
    let limit = RateLimit::new(nothing(), Rate::new(u64::from(calls), period));
    Buffer::new(limit, usize::try_from(callers).expect("a number"))
}

/// A token bucket that holds so many.
fn theirs(rate: u32, calls: u32, backpressure: bool) -> impl Limited {
    let layer = RateLimiterLayer::builder()
        .limit_for_period(calls as usize)
        .refresh_period(calls * per(rate))
        .burst_size(0);
    let layer = layer.timeout_duration(Duration::from_secs(3600));
    let layer = if backpressure { layer.backpressure() } else { layer };
    layer.build().expect("valid").layer(nothing())
}

struct Found {
    calls: u32,
    /// The fewest and the most.
    calls_of_a_caller: (u32, u32),
    waits: Times,
    /// Also of a call that got no token.
    longest: Duration,
    cpu: Duration,
}

/// What these callers find once they are all in line.
async fn run(callers: u32, service: impl Limited) -> Found {
    let started = Instant::now() + Duration::from_millis(500);
    let mut tasks: JoinSet<_> = (0..callers).map(|_| caller(service.clone(), started)).collect();
    sleep_until(started.into()).await;
    let before = cpu_time();
    sleep_until((started + TIME).into()).await;
    let cpu = cpu_time().saturating_sub(before);
    let (mut waits, mut longest, mut shares) = (Times::default(), Duration::ZERO, Vec::new());
    while let Some(result) = tasks.join_next().await {
        let (of_caller, its_longest) = result.expect("ends");
        longest = longest.max(its_longest);
        shares.push(u32::try_from(of_caller.calls()).expect("a number"));
        waits.append(of_caller);
    }
    let least = shares.iter().copied().min().unwrap_or_default();
    let most = shares.iter().copied().max().unwrap_or_default();
    Found { calls: shares.iter().sum(), calls_of_a_caller: (least, most), waits, longest, cpu }
}

/// Returns the waits of its calls, and the longest.
async fn caller(mut service: impl Limited, started: Instant) -> (Times, Duration) {
    let (mut waits, mut longest, mut asked) = (Times::default(), Duration::ZERO, Instant::now());
    let calls = async {
        loop {
            asked = Instant::now();
            service.ready().await.expect("ready").call(()).await.expect("a token");
            if Instant::now() >= started {
                waits.add(asked.elapsed());
                longest = longest.max(asked.elapsed());
            }
        }
    };
    let ends = started + TIME;
    let _: Result<(), _> = timeout_at(ends.into(), calls).await;
    (waits, longest.max(ends.saturating_duration_since(asked)))
}

//! What `capture` costs its caller, and the process. See README.md beside it.

mod support;

use std::hint::black_box;
use std::process::exit;
use std::time::{Duration, Instant};

use posthog_health::layers::RateLimitConfig;
use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{DropReason, Event};
use support::times::{Times, clock, cpu_time, wait_until};
use support::{Arguments, DEFAULT_QUEUE, Row, event, ours, print_machine, print_table, server, theirs};
use tokio::runtime::Runtime;

const CHUNK: usize = 10_000;
const CHUNKS: usize = 20;
const PACED: Duration = Duration::from_secs(5);
/// Between two captures of a busy service, and of a calm one.
const BUSY: Duration = Duration::from_micros(100);
const CALM: Duration = Duration::from_millis(1);
const REQUIRED: u64 = 50_000;

fn main() {
    if Arguments::read().is_none() {
        return;
    }
    let runtime = Runtime::new().expect("a runtime");
    let prototype = event(1);
    let json = serde_json::to_vec(&prototype).expect("an event is JSON");
    println!(
        "The same event for both: {} properties, {} bytes as JSON; made just before each call, untimed.",
        prototype.properties().len(),
        json.len()
    );
    println!("{} of each time is the clock's own; p99.9 and max are mostly the scheduler's.\n", clock());
    let their_server = server();
    tight(&runtime, &prototype, &their_server);
    calm(&runtime, &prototype);
    hanging(&runtime, &prototype);
    print_machine(&their_server);
    // The SDK has requests under way: dropping it would wait for them.
    exit(0);
}

/// As fast as a loop can, chunks taking turns.
fn tight(runtime: &Runtime, prototype: &Event, their_server: &FakePostHog) {
    let our_server = server();
    let queue = 2 * CHUNK;
    let _inside = runtime.enter();
    let unlimited = RateLimitConfig::default().rate(100_000).burst(100_000);
    let our_client = ours(&our_server).queue_events(queue).rate_limit(unlimited).build();
    let our_client = our_client.expect("a good configuration");
    let their_client = runtime.block_on(theirs(their_server, queue));
    let (mut our_times, mut their_times) = (Times::default(), Times::default());
    for _ in 0..CHUNKS {
        fill(&mut our_times, prototype, |event| our_client.capture(event));
        runtime.block_on(our_client.flush()).expect("a healthy server");
        fill(&mut their_times, prototype, |event| their_client.capture(event));
        runtime.block_on(their_client.flush());
    }
    runtime.block_on(our_client.shutdown(PACED));
    runtime.block_on(their_client.shutdown());
    let total = CHUNK * CHUNKS;
    println!("In a tight loop, {total} calls in turns of {CHUNK}, drained in between; PostHog healthy.\n");
    let mut rows = rows(our_times, their_times);
    rows.push(Row::count("arrived", our_server.accepted(), their_server.accepted()));
    print_table(&rows);
}

/// Each event is made just before its call, as services do: it is in the cache.
fn fill(times: &mut Times, prototype: &Event, mut capture: impl FnMut(Event)) {
    for _ in 0..CHUNK {
        let event = prototype.clone();
        times.time(|| capture(event));
    }
}

/// One a millisecond, and what that costs the process beyond the bare loop.
fn calm(runtime: &Runtime, prototype: &Event) {
    let events = (PACED.as_secs_f64() / CALM.as_secs_f64()).round();
    let before = cpu_time();
    paced(CALM, prototype, |event| drop(black_box(event)));
    let control = cpu_time().saturating_sub(before);
    let per_event = |cpu: Duration| cpu.saturating_sub(control).as_nanos() as f64 / events;

    let (our_server, their_server) = (server(), server());
    let _inside = runtime.enter();
    let our_client = ours(&our_server).build().expect("a good configuration");
    warm(|event| our_client.capture(event));
    runtime.block_on(our_client.flush()).expect("a healthy server");
    let before = cpu_time();
    let our_times = paced(CALM, prototype, |event| our_client.capture(event));
    runtime.block_on(our_client.flush()).expect("a healthy server");
    let our_cpu = per_event(cpu_time().saturating_sub(before));
    runtime.block_on(our_client.shutdown(PACED));

    let their_client = runtime.block_on(theirs(&their_server, DEFAULT_QUEUE));
    warm(|event| their_client.capture(event));
    runtime.block_on(their_client.flush());
    let before = cpu_time();
    let their_times = paced(CALM, prototype, |event| their_client.capture(event));
    runtime.block_on(their_client.flush());
    let their_cpu = per_event(cpu_time().saturating_sub(before));
    runtime.block_on(their_client.shutdown());

    println!(
        "One every {CALM:?} for {PACED:?}, from a thread that sleeps in between; PostHog healthy. CPU is the whole"
    );
    println!("process's, delivery included, the servers' and a control run's ({control:.1?}) excluded.\n");
    let mut rows = rows(our_times, their_times);
    rows.push(Row::nanos("CPU per event", our_cpu, their_cpu));
    print_table(&rows);
}

/// 10,000 a second, with nobody to take them: the queue overflows.
fn hanging(runtime: &Runtime, prototype: &Event) {
    let (our_server, their_server) = (server(), server());
    our_server.always(Reply::hang());
    their_server.always(Reply::hang());
    let _inside = runtime.enter();
    let our_client = ours(&our_server).build().expect("a good configuration");
    let our_times = paced(BUSY, prototype, |event| our_client.capture(event));
    let dropped = our_client.stats().dropped.count(DropReason::QueueFull);
    runtime.block_on(our_client.shutdown(Duration::ZERO));

    let their_client = runtime.block_on(theirs(&their_server, DEFAULT_QUEUE));
    let their_times = paced(BUSY, prototype, |event| their_client.capture(event));
    std::mem::forget(their_client);

    println!(
        "One every {BUSY:?} for {PACED:?}, from a thread that spins in between, while PostHog hangs; queues of"
    );
    println!("{DEFAULT_QUEUE}, which overflow.\n");
    let p99 = our_times.percentile(0.99);
    let mut rows = rows(our_times, their_times);
    rows.push(Row::words("dropped, as the client tells", dropped, "does not tell"));
    print_table(&rows);
    println!("requirement p99 < 50 µs: {}", if p99 < REQUIRED { "met" } else { "not met" });
}

/// Calls `capture` at its time, or as soon as can be after it.
fn paced(every: Duration, prototype: &Event, mut capture: impl FnMut(Event)) -> Times {
    let mut times = Times::default();
    let started = Instant::now();
    let mut due = Duration::ZERO;
    while due < PACED {
        let event = prototype.clone();
        wait_until(started + due);
        times.time(|| capture(event));
        due += every;
    }
    times
}

/// Starts threads, connects, fills caches.
fn warm(mut capture: impl FnMut(Event)) {
    (0..100).for_each(|number| capture(event(number)));
}

fn rows(ours: Times, theirs: Times) -> Vec<Row> {
    let percentiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];
    let mut rows = vec![Row::count("calls", ours.calls(), theirs.calls())];
    rows.extend(percentiles.map(|(name, share)| {
        Row::nanos(name, ours.percentile(share) as f64, theirs.percentile(share) as f64)
    }));
    rows.push(Row::nanos("mean", ours.mean(), theirs.mean()));
    rows
}

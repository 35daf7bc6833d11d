//! What the layers cost a call: ready + call over a service that costs nothing, beside tower-resilience's
//! and beside what both are made of.
//!
//! `cargo bench --bench layers`

#[path = "../support/mod.rs"]
mod support;

mod floors;
mod measure;
mod subjects;

use std::time::{Duration, Instant};

use measure::{
    ROUNDS, Round, Times, Traffic, a_tenth_fails, all_fail, alone, by_turns, healthy, probes, two_runtimes,
    two_tasks,
};
use subjects::{Measured, ours, theirs};
use support::{cells, print_columns};
use tokio::runtime::Builder;

/// Longer than a run.
const HOUR: Duration = Duration::from_secs(3600);
const WINDOW: u32 = 100;

/// One line: ours beside theirs.
struct Pair {
    name: &'static str,
    rounds: [Round; 2],
}

impl Pair {
    fn alone<O: Measured, T: Measured>(
        name: &'static str,
        (warm_up, traffic): (Traffic, Traffic),
        ours: impl Fn() -> O + 'static,
        theirs: impl Fn() -> T + 'static,
    ) -> Self {
        Self { name, rounds: [alone(ours, warm_up, traffic), alone(theirs, warm_up, traffic)] }
    }

    fn print(pairs: impl IntoIterator<Item = Self>) {
        let mut lines = vec![cells!["", "ours", "tower-resilience", "ratio", "worst round", "theirs"]];
        for Self { name, rounds } in pairs {
            let [ours, theirs] = by_turns(rounds);
            let ratio = ratio(ours, theirs);
            let (worst, their_worst) = (nanos(ours.worst), nanos(theirs.worst));
            lines.push(cells![name, nanos(ours.best), nanos(theirs.best), ratio, worst, their_worst]);
        }
        print_columns(&lines);
    }
}

fn main() {
    if support::Arguments::read().is_none() {
        return;
    }
    let started = Instant::now();
    // The timeout wants one.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let _entered = runtime.enter();
    println!(
        "ready + call over a service that does nothing, ns a call: the best round of {ROUNDS}.\nBreakers' windows: {WINDOW} calls.\n"
    );
    one_thread();
    shared();
    window();
    what_it_is_made_of();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    let version = env!("CARGO_PKG_VERSION");
    println!(
        "machine: {cores} cores, {arch} {os}; posthog-health/{version} beside tower-resilience 0.13; took {:.0} s",
        started.elapsed().as_secs_f64()
    );
}

fn one_thread() {
    println!("One thread.\n");
    let closed: (Traffic, Traffic) = (healthy, healthy);
    let failing: (Traffic, Traffic) = (a_tenth_fails, a_tenth_fails);
    let open: (Traffic, Traffic) = (all_fail, healthy);
    Pair::print([
        Pair::alone(
            "breaker, closed",
            closed,
            || ours::breaker(WINDOW, HOUR),
            || theirs::breaker(WINDOW, HOUR),
        ),
        Pair::alone(
            "breaker, a tenth fails",
            failing,
            || ours::breaker(WINDOW, HOUR),
            || theirs::breaker(WINDOW, HOUR),
        ),
        Pair::alone(
            "breaker, open: rejected",
            open,
            || ours::breaker(WINDOW, HOUR),
            || theirs::breaker(WINDOW, HOUR),
        ),
        Pair {
            name: "breaker, half open: a probe closes it",
            rounds: [probes(|open| ours::breaker(10, open)), probes(|open| theirs::breaker(10, open))],
        },
        Pair::alone("limiter", closed, ours::limiter, theirs::limiter),
        Pair::alone("limiter, theirs with a fixed window", closed, ours::limiter, theirs::fixed_window),
        Pair::alone("retry, theirs without a budget", closed, ours::retry, theirs::retry),
        Pair::alone(
            "the three, closed",
            closed,
            || ours::three(WINDOW, HOUR),
            || theirs::three(WINDOW, HOUR),
        ),
        Pair::alone(
            "the three, open: rejected",
            open,
            || ours::three(WINDOW, HOUR),
            || theirs::three(WINDOW, HOUR),
        ),
        Pair::alone(
            "delivery_stack, theirs the three",
            closed,
            || ours::delivery(WINDOW, HOUR),
            || theirs::three(WINDOW, HOUR),
        ),
    ]);
}

/// What a task takes for a call of its own, while another does the same.
fn shared() {
    println!("Two callers that share the layers, both at it without a pause.\n");
    let pair = |name, rounds| Pair { name, rounds };
    Pair::print([
        pair(
            "breaker, two tasks of one runtime",
            [two_tasks(|| ours::breaker(WINDOW, HOUR)), two_tasks(|| theirs::breaker(WINDOW, HOUR))],
        ),
        pair(
            "breaker, two runtimes",
            [two_runtimes(|| ours::breaker(WINDOW, HOUR)), two_runtimes(|| theirs::breaker(WINDOW, HOUR))],
        ),
        pair(
            "the three, two tasks of one runtime",
            [two_tasks(|| ours::three(WINDOW, HOUR)), two_tasks(|| theirs::three(WINDOW, HOUR))],
        ),
        pair(
            "the three, two runtimes",
            [two_runtimes(|| ours::three(WINDOW, HOUR)), two_runtimes(|| theirs::three(WINDOW, HOUR))],
        ),
    ]);
}

fn window() {
    println!("Calls in the breaker's window; a tenth of all calls fails.\n");
    let mut lines = vec![cells!["calls", "ours", "to 10", "tower-resilience", "ratio"]];
    let mut smallest = None;
    for calls in [10, 100, 1_000, 10_000, 100_000] {
        let [ours, theirs] = by_turns([
            alone(move || ours::breaker(calls, HOUR), a_tenth_fails, a_tenth_fails),
            alone(move || theirs::breaker(calls, HOUR), a_tenth_fails, a_tenth_fails),
        ]);
        let growth = ratio(ours, *smallest.get_or_insert(ours));
        lines.push(cells![calls, nanos(ours.best), growth, nanos(theirs.best), ratio(ours, theirs)]);
    }
    print_columns(&lines);
}

fn what_it_is_made_of() {
    println!("What it is made of, one thread: the floor.\n");
    let mut lines = vec![cells!["", "ns a call"]];
    for (name, round) in floors::all() {
        let [times] = by_turns([round]);
        lines.push(cells![name, nanos(times.best)]);
    }
    print_columns(&lines);
}

fn ratio(ours: Times, theirs: Times) -> String {
    format!("{:.2}", ours.best / theirs.best)
}

fn nanos(time: f64) -> String {
    if time < 1_000.0 { format!("{time:.1} ns") } else { format!("{time:.0} ns") }
}

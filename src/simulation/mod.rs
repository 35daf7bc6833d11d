//! A world from a seed, to find the next defects before a user does.
//!
//! One seed is one history, replayed exactly. The [`plan`] draws a configuration, a workload and a world. The driver
//! ([`run`]) performs its steps with real clients, built by their builder: their queue, encoder, worker, layers and spool
//! run as they are. What they touch outside is simulated: the clocks, the threads ([`crate::rt::simulated`]), the
//! [`disk`], and [`posthog`] with the network before it. The [`oracle`] shares no code with the rest of the crate. It knows
//! what was captured, what the world did and what the public API returned, and [`bounds`] says what it tolerates.
//!
//! The models are [FoundationDB's](https://apple.github.io/foundationdb/testing.html) and
//! [TigerBeetle's](https://github.com/tigerbeetle/tigerbeetle/blob/main/docs/internals/vopr.md) simulators.

mod bounds;
mod capture_v1;
mod config;
mod coverage;
mod disk;
mod history;
mod incidents;
mod oracle;
mod plan;
mod posthog;
mod requests;
mod run;
mod service;
mod shrink;
#[cfg(test)]
mod tests;
mod words;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use coverage::Coverage;
#[cfg(test)]
pub use disk::{Faults, ProcessDisk, SimDisk};
use history::Lines;
use plan::Plan;
use run::{Outcome, run};
use shrink::shrink;

const USAGE: &str = "usage: simulate [--seeds N] [--seed FIRST] [--threads N] [--trace] [--until-violation]

Runs N histories (default 100) from the seed FIRST on (default 1). With --trace, prints each history.
With --until-violation, prints each seed and ends with the first that breaks a rule, without shortening its history.
The last line is `seeds=… steps=… violations=…`.";

struct Options {
    seeds: u64,
    first: u64,
    /// As many as there are processors if it is not given.
    threads: Option<usize>,
    trace: bool,
    until_violation: bool,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self { seeds: 100, first: 1, threads: None, trace: false, until_violation: false };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seeds" => options.seeds = arguments.next()?.parse().ok()?,
                "--seed" => options.first = arguments.next()?.parse().ok()?,
                "--threads" => options.threads = Some(arguments.next()?.parse().ok()?),
                "--trace" => options.trace = true,
                "--until-violation" => options.until_violation = true,
                _ => return None,
            }
        }
        Some(options)
    }
}

/// The example `simulate`. Not a part of the API.
#[doc(hidden)]
pub fn simulate_main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let begun = Instant::now();
    let mut total = Total { coverage: Coverage::empty(), ..Total::default() };
    // Results are taken in the order of the seeds, whichever thread has its own first.
    let (sender, results) = mpsc::channel();
    let next = AtomicU64::new(options.first);
    let end = options.first.saturating_add(options.seeds);
    // A trace is one history after the other.
    let all = || thread::available_parallelism().map_or(1, usize::from);
    let threads = if options.trace { 1 } else { options.threads.unwrap_or_else(all).max(1) };
    thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, trace) = (sender.clone(), &next, options.trace);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let (plan, lines) = (Plan::draw(seed), if trace { Lines::Print } else { Lines::Forget });
                    if trace {
                        plan.print();
                    }
                    if sender.send((seed, run(&plan, lines))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (mut waiting, mut seed) = (BTreeMap::new(), options.first);
        for (done, outcome) in results {
            waiting.insert(done, outcome);
            while let Some(outcome) = waiting.remove(&seed) {
                total.add(seed, outcome, !options.until_violation);
                if options.until_violation {
                    if total.violations > 0 {
                        // The other threads end when nobody takes their results.
                        return;
                    }
                    println!("seed={seed}");
                }
                seed += 1;
            }
        }
    });
    total.report(begun.elapsed());
    if total.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Total {
    seeds: u64,
    steps: u64,
    violations: u64,
    /// The rules of which a history was shortened.
    explained: BTreeSet<&'static str>,
    captures: Vec<usize>,
    simulated: Vec<Duration>,
    faults: Vec<u64>,
    coverage: Coverage,
}

impl Total {
    fn add(&mut self, seed: u64, outcome: Outcome, explains: bool) {
        let Outcome { violation, steps, captures, simulated, faults, coverage, hash, .. } = outcome;
        self.seeds += 1;
        self.steps += steps as u64;
        self.captures.push(captures);
        self.simulated.push(simulated);
        self.faults.push(faults);
        self.coverage.merge(&coverage);
        let Some(violation) = violation else { return };
        self.violations += 1;
        println!("seed={seed} step={} rule=\"{}\" history={hash:016x}", violation.step, violation.rule);
        println!("  {}", violation.text);
        if explains && self.explained.insert(violation.rule) {
            let plan = shrink(&Plan::draw(seed), violation.rule);
            println!(
                "  the shortest history that was found has {} steps, with {:?}",
                plan.steps.len(),
                plan.config
            );
            for line in run(&plan, Lines::Keep).lines {
                println!("    {line}");
            }
        }
    }

    fn report(&mut self, took: Duration) {
        self.captures.sort_unstable();
        self.simulated.sort_unstable();
        self.faults.sort_unstable();
        let middle = self.captures.len() / 2;
        if let (Some(captures), Some(simulated), Some(faults)) =
            (self.captures.get(middle), self.simulated.get(middle), self.faults.get(middle))
        {
            let minutes = simulated.as_secs() / 60;
            println!("the median seed: {captures} captures, {minutes} simulated minutes, {faults} faults");
        }
        println!("{}", self.coverage);
        let missing = self.coverage.missing();
        if !missing.is_empty() {
            println!("never occurred: {}", missing.join(", "));
        }
        println!("{:.1} seeds a second", self.seeds as f64 / took.as_secs_f64());
        println!("seeds={} steps={} violations={}", self.seeds, self.steps, self.violations);
    }
}

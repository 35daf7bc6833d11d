//! What outages of PostHog cost: events, requests, CPU and memory, and time to drain after. See README.md above it.

mod client;
mod fault;
mod side;
#[path = "../support/mod.rs"]
mod support;

use std::process::exit;
use std::thread;
use std::time::Duration;

use fault::Fault;
use side::Side;
use support::{Arguments, DEFAULT_QUEUE, cells, print_columns, print_machine, seconds};

const RATE: usize = 200;
const WARM_UP: usize = 5;
/// We do not wait longer for a drain: a request that hangs is given up after 30 s.
const LONGEST_DRAIN: Duration = Duration::from_secs(40);

fn main() {
    let Some(arguments) = Arguments::read() else { return };
    if let Some(role) = arguments.value("--role") {
        client::run(role, &arguments);
    }
    let number = |flag| arguments.value(flag).map(|value| value.parse().expect("a number"));
    let outage = number("--seconds").unwrap_or(60);
    let events = (WARM_UP + outage) * RATE;
    // 60 s of this rate are more than the default of either.
    let queue = number("--queue").unwrap_or(events.max(2 * DEFAULT_QUEUE));
    let faults: Vec<Fault> = match arguments.value("--fault") {
        Some(name) => vec![Fault::named(name)],
        None => Fault::NAMES.map(Fault::named).into(),
    };
    println!(
        "{WARM_UP} s of healthy traffic, {outage} s of outage, recovery; {RATE} events/s until then; then all are asked"
    );
    println!(
        "to flush. Each client is a process with a server of its own, all at once. Defaults, but queues of"
    );
    println!("{queue} events.\n");
    let outcomes: Vec<(Side, Side)> = thread::scope(|scope| {
        let start = |role, fault| scope.spawn(move || side::run(role, fault, outage, queue));
        let running: Vec<_> =
            faults.iter().map(|fault| (start("ours", fault), start("theirs", fault))).collect();
        running
            .into_iter()
            .map(|(ours, theirs)| (ours.join().expect("ours"), theirs.join().expect("theirs")))
            .collect()
    });
    print(&faults, &outcomes, outage);
    for (fault, (ours, _)) in faults.iter().zip(&outcomes) {
        println!("our ledger, {}: {}", fault.name, ours.ledger);
    }
    let met = faults.iter().zip(&outcomes).filter(|(fault, (ours, theirs))| {
        let kept = queue < events || require(ours.lost() == 0, fault, "posthog-health must lose none");
        let calm = !fault.must_be_a_tenth(outage)
            || require(
                ours.requests * 10 <= theirs.requests,
                fault,
                "posthog-health must send at most a tenth",
            );
        kept && calm
    });
    let good = met.count() == faults.len();
    if let Some((_, theirs)) = outcomes.first() {
        print_machine(&theirs.server);
    }
    exit(i32::from(!good));
}

fn print(faults: &[Fault], outcomes: &[(Side, Side)], outage: usize) {
    let mut costs = vec![cells![
        "the outage",
        "lost",
        "posthog-rs",
        "requests",
        "posthog-rs",
        "CPU",
        "posthog-rs",
        "memory, peak",
        "posthog-rs"
    ]];
    let mut drains = vec![cells![
        "the recovery",
        "first delivery",
        "posthog-rs",
        "last delivery",
        "posthog-rs",
        "duplicates",
        "posthog-rs"
    ]];
    for (fault, (ours, theirs)) in faults.iter().zip(outcomes) {
        let lost = |side: &Side| format!("{:.1} %", 100.0 * side.lost() as f64 / (outage * RATE) as f64);
        costs.push(cells![
            fault.name,
            lost(ours),
            lost(theirs),
            fault.seen(ours.requests),
            fault.seen(theirs.requests),
            seconds(Some(ours.cpu)),
            seconds(Some(theirs.cpu)),
            mebibytes(ours.memory),
            mebibytes(theirs.memory)
        ]);
        let first = |side: &Side| seconds(side.deliveries().into_iter().min());
        let last = |side: &Side| seconds(side.deliveries().into_iter().max());
        drains.push(cells![
            fault.name,
            first(ours),
            first(theirs),
            last(ours),
            last(theirs),
            ours.duplicates(),
            theirs.duplicates()
        ]);
    }
    print_columns(&costs);
    print_columns(&drains);
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn require(met: bool, fault: &Fault, what: &str) -> bool {
    if !met {
        eprintln!("NOT MET: {}: {what}", fault.name);
    }
    met
}

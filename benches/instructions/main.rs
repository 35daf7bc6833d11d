//! What calls cost in instructions, whatever else the machine does. See README.md above it.

mod baseline;
mod capture;
mod delivery;
mod layers;
#[path = "../support/mod.rs"]
mod support;
mod valgrind;

use std::process::exit;
use std::vec::IntoIter;

use support::subject::{Ours, Theirs};
use support::{Arguments, cells, print_columns};
use valgrind::Counted;

/// Of each scenario: enough for what happens once a batch to have its share.
const CALLS: usize = 500;

/// What is counted, ours and theirs. Each is run in a process of its own.
struct Scenario {
    name: &'static str,
    ours: fn(),
    theirs: Option<fn()>,
}

/// In the order of the table.
const SCENARIOS: &[Scenario] = &[
    Scenario::both("capture, tight loop", capture::tight::<Ours>, capture::tight::<Theirs>),
    Scenario::both("capture, worker asleep", capture::asleep::<Ours>, capture::asleep::<Theirs>),
    Scenario::both("capture, queue full", capture::full::<Ours>, capture::full::<Theirs>),
    Scenario::both("capture, client disabled", capture::disabled::<Ours>, capture::disabled::<Theirs>),
    Scenario::both("build + capture", capture::build::<Ours>, capture::build::<Theirs>),
    Scenario::both("build + capture, typed", capture::build_typed, capture::build::<Theirs>),
    Scenario::ours("encode + send", delivery::plain),
    Scenario::ours("encode + gzip + send", delivery::gzip),
    Scenario::ours("encode + send, V1", delivery::plain_v1),
    Scenario::ours("encode + gzip + send, V1", delivery::gzip_v1),
    Scenario::ours("encode + send, typed", delivery::plain_typed),
    Scenario::ours("encode + gzip + send, typed", delivery::gzip_typed),
    Scenario::ours("breaker closed", layers::breaker_closed),
    Scenario::ours("breaker open", layers::breaker_open),
    Scenario::ours("limiter", layers::limiter),
    Scenario::ours("retry > breaker > limiter", layers::stack),
    Scenario::ours("delivery_stack", layers::delivery),
];

impl Scenario {
    const fn both(name: &'static str, ours: fn(), theirs: fn()) -> Self {
        Self { name, ours, theirs: Some(theirs) }
    }

    const fn ours(name: &'static str, ours: fn()) -> Self {
        Self { name, ours, theirs: None }
    }
}

/// The part that is counted: valgrind knows this function by its name.
#[inline(never)]
fn measured<T>(inputs: &mut IntoIter<T>, mut call: impl FnMut(T)) {
    for input in inputs {
        call(input);
    }
}

fn main() {
    let Some(arguments) = Arguments::read() else { return };
    if let Some(name) = arguments.value("--scenario") {
        run(name, arguments.has("--theirs"));
    }
    let only = arguments.value("--only");
    let wanted = |scenario: &&Scenario| only.is_none_or(|only| scenario.name.contains(only));
    let counted: Vec<_> = SCENARIOS.iter().filter(wanted).map(count).collect();
    assert!(!counted.is_empty(), "no scenario has {} in its name", only.unwrap_or_default());
    print(&counted);
    let ours: Vec<_> = counted.iter().map(|(name, ours, _)| (*name, ours.instructions)).collect();
    if arguments.has("--save") {
        assert!(only.is_none(), "--save takes all scenarios");
        baseline::save(&ours);
    } else if arguments.has("--check") && !baseline::holds(&ours) {
        exit(1);
    }
}

/// As the child that valgrind watches.
fn run(name: &str, theirs: bool) -> ! {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).expect("a scenario");
    let run = if theirs { scenario.theirs.expect("a scenario of both") } else { scenario.ours };
    run();
    // The SDK may have requests under way: dropping it would wait for them.
    exit(0);
}

type Line = (&'static str, Counted, Option<Counted>);

fn count(scenario: &Scenario) -> Line {
    let ours = valgrind::count(scenario.name, "--ours");
    let theirs = scenario.theirs.map(|_| valgrind::count(scenario.name, "--theirs"));
    (scenario.name, ours, theirs)
}

fn print(lines: &[Line]) {
    println!("Of one call, on the caller's thread; {CALLS} calls each, by {}.\n", valgrind::version());
    let mut table =
        vec![cells!["", "instructions", "posthog-rs", "ours / theirs", "allocations", "posthog-rs",]];
    let none = || "-".to_owned();
    table.extend(lines.iter().map(|(name, ours, theirs)| {
        let theirs = theirs.as_ref();
        let ratio = theirs.map(|theirs| ours.instructions as f64 / theirs.instructions as f64);
        cells![
            name,
            ours.instructions,
            theirs.map_or_else(none, |theirs| theirs.instructions.to_string()),
            ratio.map_or_else(none, |ratio| format!("{ratio:.2}")),
            format!("{:.1}", ours.allocations),
            theirs.map_or_else(none, |theirs| format!("{:.1}", theirs.allocations)),
        ]
    }));
    print_columns(&table);
}

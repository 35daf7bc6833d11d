//! How many events a second get to PostHog, and what that costs. See README.md beside it.

mod sender;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use sender::Finding;
use support::checkout::assert_same_event;
use support::process::Process;
use support::sink::{self, Got, Sink};
use support::{Arguments, cells, print_columns, print_machine_beside};

const EVENTS: usize = 200_000;

/// The ways to send: the role of the sender, its name, and the role that only makes its events. The first is what the
/// others are compared with.
///
/// posthog-rs speaks V0, or V1 alone with `--features posthog-rs/capture-v1`.
const ROADS: [(&str, &str, &str); 4] = [
    ("theirs", "posthog-rs", "events"),
    ("ours", "posthog-health", "events"),
    ("ours-v1", "by V1", "events"),
    ("typed", "typed events", "typed-events"),
];

fn main() {
    let Some(arguments) = Arguments::read() else { return };
    match arguments.value("--role") {
        Some(sink::ROLE) => return sink::run(),
        Some(role) => return sender::run(role, &arguments),
        None => assert_same_event(),
    }
    let runs = arguments.value("--runs").map_or(2, |runs| runs.parse().expect("a number"));
    let started = Instant::now();
    println!(
        "{EVENTS} events, made and captured by one thread as fast as it can, delivered to a sink that only"
    );
    println!(
        "keeps them. Sender and sink are processes of their own for each figure, which is the best of {runs}."
    );
    println!("Both clients have a queue for all events; ours has no rate limit.\n");
    let mut sdk = String::new();
    for gzip in ["off", "on"] {
        for batch in [100, 1_000] {
            println!("gzip {gzip}, batches of {batch}:\n");
            let mut results: Vec<Vec<Result>> = ROADS.map(|_| Vec::new()).into();
            for _ in 0..runs {
                for (road, results) in ROADS.iter().zip(&mut results) {
                    results.push(Result::of(road, batch, gzip));
                }
            }
            print(&results);
            sdk.clone_from(&results[0][0].got.user_agent);
        }
    }
    print_machine_beside(&sdk);
    println!("took {} s", started.elapsed().as_secs());
}

/// One experiment.
struct Result {
    finding: Finding,
    /// The events made and dropped.
    control: Finding,
    got: Got,
}

impl Result {
    fn of((role, _, control): &(&str, &str, &str), batch: usize, gzip: &str) -> Self {
        let mut sink = Sink::start();
        let finding = Process::run(
            role,
            &[("--url", &sink.url), ("--events", &EVENTS), ("--batch", &batch), ("--gzip", &gzip)],
        );
        let control = Process::run(control, &[("--events", &EVENTS)]);
        let result = Self { finding, control, got: sink.got() };
        assert_eq!(result.got.distinct, EVENTS, "{role} lost events");
        result
    }
}

/// A figure of each road, from its best run.
type Figures = Vec<f64>;

fn print(results: &[Vec<Result>]) {
    let of_runs = |choose: fn(f64, f64) -> f64, figure: fn(&Result) -> f64| -> Figures {
        results.iter().map(|runs| runs.iter().map(figure).reduce(choose).expect("a run")).collect()
    };
    let least = |figure| of_runs(f64::min, figure);
    let most = |figure| of_runs(f64::max, figure);
    let cpu = least(|result| of_a_million(result.finding.cpu));
    let making = least(|result| of_a_million(result.control.cpu));
    let sending = cpu.iter().zip(&making).map(|(cpu, making)| cpu - making).collect();

    let heads = ROADS.iter().enumerate().flat_map(|(at, (_, name, _))| {
        [Some((*name).to_owned()), (at > 0).then(|| "/ posthog-rs".to_owned())].into_iter().flatten()
    });
    print_columns(&[
        std::iter::once(String::new()).chain(heads).collect(),
        line("events/s", &most(|result| EVENTS as f64 / result.finding.took.as_secs_f64()), count),
        line("CPU of a million events", &cpu, seconds),
        line("of it making them", &making, seconds),
        line("and sending them", &sending, seconds),
        line("memory, peak", &least(|result| result.finding.peak as f64), mib),
        line("requests", &most(|result| result.got.requests as f64), count),
        line("sent", &most(|result| result.got.bytes as f64), mib),
        line("lost", &most(|result| (EVENTS - result.got.distinct) as f64), count),
        line("duplicates", &most(|result| (result.got.events - result.got.distinct) as f64), count),
    ]);
}

fn line(name: &str, figures: &Figures, show: fn(f64) -> String) -> Vec<String> {
    let mut cells = cells![name];
    for (at, figure) in figures.iter().enumerate() {
        let ratio = if figures[0] > 0.0 { format!("{:.2}", figure / figures[0]) } else { String::new() };
        cells.push(show(*figure));
        cells.extend((at > 0).then_some(ratio));
    }
    cells
}

fn of_a_million(cpu: Duration) -> f64 {
    cpu.as_secs_f64() * 1e6 / EVENTS as f64
}

fn count(figure: f64) -> String {
    format!("{figure:.0}")
}

fn seconds(figure: f64) -> String {
    format!("{figure:.2} s")
}

fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}

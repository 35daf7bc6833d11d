//! What an event takes in memory while it waits. See README.md beside it.

mod support;

use std::process::exit;
use std::thread::sleep;
use std::time::Duration;

use posthog_health::Event;
use posthog_health::posthog_rs;
use serde::{Deserialize, Serialize};
use support::process::{self, Process, memory, tell};
use support::sink::{self, Sink};
use support::{
    Arguments, cells, event, ours_unbounded, print_columns, print_machine_beside, theirs_unbounded,
};
use tokio::runtime::Runtime;

/// Connections, threads, caches.
const WARM_UP: usize = 100;
/// Ours encodes what comes in the background.
const REST: Duration = Duration::from_secs(1);
/// Of a service under load.
const CHUNK: usize = 100;
const EVERY: Duration = Duration::from_millis(2);

fn main() {
    let Some(arguments) = Arguments::read() else { return };
    match arguments.value("--role") {
        Some(sink::ROLE) => return sink::run(),
        Some(role) => return client(role, &arguments),
        None => {}
    }
    let json = serde_json::to_vec(&event(1)).expect("an event is JSON").len();
    println!(
        "Events of {json} bytes as JSON, captured while PostHog hangs: by how much the resident memory of the"
    );
    println!("process is larger a second later, for each event. Paced is {CHUNK} events every {EVERY:?}.\n");
    let mut sdk = String::new();
    let mut lines =
        vec![cells!["bytes an event", "posthog-health", "posthog-rs", "ours / theirs", "peak / peak"]];
    for (pace, events) in [("paced", 20_000), ("paced", 100_000), ("at once", 20_000), ("at once", 100_000)] {
        let [ours, theirs] = ["ours", "theirs"].map(|role| {
            let mut sink = Sink::start();
            let mut client =
                Process::start(role, &[("--url", &sink.url), ("--events", &events), ("--pace", &pace)]);
            client.told::<()>();
            sink.hang();
            client.tell("go on");
            let finding: Finding = client.told();
            sdk = sink.got().user_agent;
            finding
        });
        let bytes = |finding: &Finding| format!("{:.0}", finding.growth as f64 / events as f64);
        lines.push(cells![
            format!("{events} {pace}"),
            bytes(&ours),
            bytes(&theirs),
            format!("{:.2}", ours.growth as f64 / theirs.growth as f64),
            format!("{:.2}", ours.peak as f64 / theirs.peak as f64),
        ]);
    }
    print_columns(&lines);
    print_machine_beside(&sdk);
}

/// In bytes, beyond what the client took before.
#[derive(Serialize, Deserialize)]
struct Finding {
    growth: u64,
    peak: u64,
}

/// The process that is measured.
fn client(role: &str, arguments: &Arguments) {
    let events: usize = arguments.value("--events").expect("a number").parse().expect("a number");
    let url = arguments.value("--url").expect("a URL");
    let paced = arguments.value("--pace") == Some("paced");
    let runtime = Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    if role == "ours" {
        let posthog = ours_unbounded(url, 2 * events).build().expect("a good configuration");
        let flush = || runtime.block_on(posthog.flush()).expect("a healthy server");
        measure(events, paced, |event| posthog.capture(event), flush)
    } else {
        let options = theirs_unbounded(url, 2 * events).build().expect("complete options");
        let client = runtime.block_on(posthog_rs::client(options));
        measure(events, paced, |event| client.capture(event), || runtime.block_on(client.flush()))
    }
}

fn measure(events: usize, paced: bool, capture: impl Fn(Event), flush: impl Fn()) -> ! {
    (0..WARM_UP).for_each(|number| capture(event(number)));
    flush();
    tell(&());
    process::wait();
    let before = memory("VmRSS");
    for number in 0..events {
        capture(event(number));
        if paced && number % CHUNK == 0 {
            sleep(EVERY);
        }
    }
    sleep(REST);
    let above = |field| memory(field).saturating_sub(before);
    tell(&Finding { growth: above("VmRSS"), peak: above("VmHWM") });
    // Dropping the SDK's client would wait for its requests.
    exit(0);
}

//! That events on disk take no memory, and how long a file of many takes to open.

use std::path::Path;

use crate::child::{Finding, Told};
use crate::support::{cells, print_columns, seconds};
use crate::{down, mib, temporary};

const LEAST: usize = 1_000;
const MOST: usize = 1_000_000;

pub(crate) async fn run(directory: &Path) {
    println!(
        "memory: of a process whose spool has so many events, captured by 1000 callers at once, PostHog down;"
    );
    println!("and how long its file takes to open. All by default but the spool's bound.\n");
    let server = down();
    let mut lines = vec![cells![
        "events",
        "captured in",
        "events/s",
        "memory, peak",
        "at the end",
        "after 2 s",
        "idle CPU",
        "file",
        "file / events",
    ]];
    let mut openings =
        vec![cells!["opening", "state at first", "ready after", "first event on disk after", "memory, peak"]];
    for events in [LEAST, 100_000, MOST] {
        let files = temporary(directory);
        let told = Told::feeding(&server.url(), files.path(), events);
        let &Finding {
            feeding,
            spooled,
            queued,
            event_bytes,
            file_bytes,
            memory,
            at_rest,
            peak,
            idle_cpu,
            ..
        } = &told.finding;
        assert_eq!((spooled, queued), (events as u64, 0));
        lines.push(cells![
            events,
            seconds(Some(feeding)),
            format!("{:.0}", events as f64 / feeding.as_secs_f64()),
            mib(peak),
            mib(memory),
            mib(at_rest),
            format!("{:.0} %", 100.0 * idle_cpu),
            mib(file_bytes),
            format!("{:.2}", file_bytes as f64 / event_bytes as f64),
        ]);
        if events == MOST {
            told.end();
            let told = Told::feeding(&server.url(), files.path(), 100);
            openings.push(opening("after an orderly end", &told.finding));
            told.kill();
            let told = Told::feeding(&server.url(), files.path(), 100);
            openings.push(opening("after a kill -9", &told.finding));
            assert_eq!(told.finding.spooled, events as u64 + 200);
            told.end();
        } else {
            told.kill();
        }
    }
    print_columns(&lines);
    println!("The file of {MOST} events, opened again by a new process:\n");
    print_columns(&openings);
}

fn opening(how: &str, finding: &Finding) -> Vec<String> {
    let Finding { opening, at_first, first_durable, peak, .. } = finding;
    cells![how, at_first, seconds(Some(*opening)), seconds(Some(*first_durable)), mib(*peak)]
}

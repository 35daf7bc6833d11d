//! How fast events get to disk, beside a plain file.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase, TableDefinition};

use crate::support::{cells, nanos, print_columns};
use crate::{assert_nothing_lost, down, feed, is_ready, json_bytes, spool, temporary, unbounded};

pub(crate) async fn run(directory: &Path) {
    println!(
        "append: `capture_durable` by so many callers at once, PostHog down. The floors are the same bytes in a"
    );
    println!(
        "plain file, with one `fdatasync` for as many events as there are callers: appended, as to a log, and"
    );
    println!("written over old ones, which spares the file system its own journal.\n");
    let mut lines = vec![cells![
        "callers",
        "events/s",
        "an event",
        "events a commit",
        "commits/s",
        "appended, events/s",
        "/ ours",
        "in place, events/s",
        "/ ours"
    ]];
    for (callers, events) in [(1, 1_000), (100, 30_000), (1_000, 60_000)] {
        let floors = || [false, true].map(|in_place| floor(directory, callers, events / 4, in_place));
        let before = floors();
        let (took, commits) = durable(directory, callers, events).await;
        let after = floors();
        let rate = events as f64 / took.as_secs_f64();
        let mut line = cells![
            callers,
            format!("{rate:.0}"),
            nanos(1e9 / rate),
            format!("{:.0}", events as f64 / commits as f64),
            format!("{:.0}", commits as f64 / took.as_secs_f64()),
        ];
        for (before, after) in before.into_iter().zip(after) {
            let floor = (before + after) / 2.0;
            line.extend([format!("{floor:.0}"), format!("{:.1}", floor / rate)]);
        }
        lines.push(line);
    }
    print_columns(&lines);
}

/// How long it takes, and how many transactions.
async fn durable(directory: &Path, callers: usize, events: usize) -> (Duration, u64) {
    let (server, directory) = (down(), temporary(directory));
    let posthog = unbounded(&server).spool(spool(directory.path())).build().expect("a good configuration");
    is_ready(&posthog).await;
    let started = Instant::now();
    feed(&posthog, callers, events).await;
    let took = started.elapsed();
    assert_nothing_lost(posthog.stats());
    posthog.shutdown(Duration::from_secs(1)).await;
    (took, commits(&directory.path().join("spool-0.redb")))
}

/// Each numbers itself, in the record that it ends with.
fn commits(file: &Path) -> u64 {
    const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
    let database = Database::open(file).expect("a spool file");
    let transaction = database.begin_read().expect("a transaction");
    let table = transaction.open_table(META).expect("a table");
    let record = table.get("state").expect("a good file").expect("a record");
    u64::from_le_bytes(record.value()[12..20].try_into().expect("eight bytes"))
}

/// Events a second.
fn floor(directory: &Path, group: usize, events: usize, in_place: bool) -> f64 {
    let path = directory.join("floor");
    let mut file = File::create(&path).expect("a file");
    let record = vec![b'x'; json_bytes()];
    if in_place {
        file.write_all(&record.repeat(events)).expect("room on the disk");
        file.sync_all().expect("a disk");
        file.rewind().expect("a file");
    }
    let started = Instant::now();
    for number in 1..=events {
        file.write_all(&record).expect("room on the disk");
        if number % group == 0 || number == events {
            file.sync_data().expect("a disk");
        }
    }
    let took = started.elapsed();
    fs::remove_file(path).expect("its own file");
    events as f64 / took.as_secs_f64()
}

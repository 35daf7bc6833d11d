//! The README's table of failures, walked row by row: each failure is provoked, and each claim of its row is shown.
#![cfg(feature = "spool")]

mod away;
mod ends;
#[path = "../support/log.rs"]
mod log;
mod refused;
mod rejected;
mod room;
mod row;
#[path = "../support/client.rs"]
mod support;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::Pin;

use posthog_health::testing::FakePostHog;
use posthog_health::{AlertsConfig, PostHogBuilder};
use row::Row;
use tracing::Level;

type Scenario = for<'a> fn(&'a Row) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// In the order of the table.
const SCENARIOS: [(&str, Scenario); 26] = [
    ("5xx or 408", |row| Box::pin(away::answers_with_errors(row))),
    ("no answer: timeout, refused, reset, cut off, DNS, TLS", |row| Box::pin(away::does_not_answer(row))),
    ("429", |row| Box::pin(away::asks_for_less(row))),
    ("401: the token is refused", |row| Box::pin(refused::token(row))),
    ("PostHog does not know the token", |row| Box::pin(refused::unknown_token(row))),
    ("a new token is malformed, or its file or provider fails", |row| Box::pin(refused::new_token(row))),
    ("a provider has given no token yet", |row| Box::pin(refused::no_token_yet(row))),
    ("not PostHog: a redirect, 403, 404, an HTML page, another status", |row| {
        Box::pin(refused::wrong_host(row))
    }),
    ("402: over the quota", |row| Box::pin(refused::over_quota(row))),
    ("200 with `quota_limited`: over the quota", |row| Box::pin(refused::over_quota_with_a_200(row))),
    ("400: a bad event in a batch", |row| Box::pin(rejected::one_bad_event(row))),
    ("400 to everything: a wrong schema, probably", |row| Box::pin(rejected::everything(row))),
    ("413, or a large body that is cut off", |row| Box::pin(rejected::too_large(row))),
    ("an event without a name or a distinct id, or nested too deep", |row| {
        Box::pin(rejected::at_the_door(row))
    }),
    ("a `before_send` hook panics", |row| Box::pin(rejected::hook_panics(row))),
    ("an outage longer than memory holds, no spool", |row| Box::pin(room::memory_is_full(row))),
    ("the same, with a spool", |row| Box::pin(room::spool_is_full(row))),
    ("`shutdown` while PostHog is away, no spool", |row| Box::pin(ends::shutdown(row))),
    ("the same, with a spool", |row| Box::pin(ends::shutdown_with_a_spool(row))),
    ("the last handle is dropped without `shutdown`", |row| Box::pin(ends::drop_without_shutdown(row))),
    ("the process is killed, no spool", |row| Box::pin(ends::killed(row))),
    ("the same, with a spool", |row| Box::pin(ends::killed_with_a_spool(row))),
    ("the spool's disk is full, missing, not ours to write, or fails", |row| {
        Box::pin(room::spool_fails(row))
    }),
    ("a spool file is damaged", |row| Box::pin(room::spool_is_damaged(row))),
    ("the tokio runtime of the client ends", |row| Box::pin(ends::runtime(row))),
    ("`/flags` fails or hangs", |row| Box::pin(away::flags(row))),
];

#[test]
fn each_row_is_as_it_says() {
    let rows = table();
    let failures: Vec<_> = rows.iter().map(|row| row.failure.as_str()).collect();
    assert_eq!(failures, SCENARIOS.map(|(failure, _)| failure), "a scenario for each row, and no other");
    let wrong: Vec<_> = std::thread::scope(|scope| {
        let walks: Vec<_> = rows
            .into_iter()
            .zip(SCENARIOS)
            .map(|(row, (failure, scenario))| (failure, scope.spawn(move || walk(&row, scenario))))
            .collect();
        let ended = walks.into_iter().map(|(failure, walk)| (failure, walk.join().unwrap()));
        ended.filter(|(_, problems)| !problems.is_empty()).collect()
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What is wrong with a row. Its log is that of its thread.
fn walk(row: &Row, scenario: Scenario) -> Vec<String> {
    let (log, _guard) = log::Log::start(Level::INFO);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let walked = catch_unwind(AssertUnwindSafe(|| runtime.block_on(scenario(row))));
    drop(runtime);
    match walked {
        Ok(()) => row.open_after(&log.text()),
        Err(_) => vec!["its scenario failed, see above".to_owned()],
    }
}

fn table() -> Vec<Row> {
    let readme = page("README.md");
    let (_, section) = readme.split_once("\n## When PostHog fails\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    section.lines().filter(|line| line.starts_with('|')).skip(2).map(Row::read).collect()
}

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Fast to fail and to recover. Alerts fire at the first failure: their limits have tests of their own.
fn client(server: &FakePostHog) -> PostHogBuilder {
    support::builder(server).alerts(AlertsConfig::default().api_down(0).rate_limited(0))
}

/// Whether the page of the defaults, which is compared with the code, has this figure for a setting.
fn by_default(setting: &str, figures: &str) -> bool {
    page("docs/defaults.md").contains(&format!("| `{setting}` | {figures} |"))
}

//! The client ends before its events have left.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{DropReason, PostHog, SpoolConfig, SpoolState};
use tokio::time::Instant;

use crate::client;
use crate::row::Row;
use crate::support::{assert_balanced, capture, event, until};

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) async fn shutdown(row: &Row) {
    let server = FakePostHog::start();
    server.always(Reply::hang());
    let posthog = client(&server).request_timeout(HOUR).build().unwrap();
    capture(&posthog, 500);
    let (began, deadline) = (Instant::now(), Duration::from_millis(300));
    let report = posthog.shutdown(deadline).await;
    let at_its_deadline = began.elapsed() >= deadline && report.undelivered == 500;
    row.shows("`shutdown` returns at its deadline", at_its_deadline);
    let dropped = posthog.stats().dropped.count(DropReason::Shutdown);
    row.shows("dropped, counted as `shutdown`", dropped == 500);
    row.shows_reasons(&posthog.health_check().await, &["shut_down"]);
    assert_balanced(posthog.stats());
}

pub(crate) async fn shutdown_with_a_spool(row: &Row) {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.refuse();
    let posthog = ready(&server, directory.path()).await;
    capture(&posthog, 500);
    let began = Instant::now();
    let report = posthog.shutdown(HOUR).await;
    row.shows(
        "`shutdown` returns once they are on disk",
        (report.undelivered, report.spooled) == (0, 500) && began.elapsed() < HOUR / 60,
    );
    row.shows_reasons(&posthog.health(), &["shut_down"]);
    server.accept();
    let next = ready(&server, directory.path()).await;
    until(|| next.stats().delivered == 500).await;
    row.shows("delivered after the next start", server.distinct() == 500);
    assert_balanced(next.stats());
}

/// Two clones: neither the first nor a reader of the health is the last.
pub(crate) async fn drop_without_shutdown(row: &Row) {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.always(Reply::hang());
    let posthog = client(&server).build().unwrap();
    let clone = posthog.clone();
    capture(&posthog, 42);
    row.shows_nothing_noticed(&posthog).await;
    drop(posthog);
    assert_eq!(clone.stats().queued, 42, "a clone keeps it alive");
    drop(clone);

    // Nobody can ask it any more, but a spool remembers the counts.
    let posthog = ready(&server, directory.path()).await;
    posthog.capture_durable(event(0)).await.unwrap();
    capture(&posthog, 42);
    drop(posthog);
    let next = ready(&server, directory.path()).await;
    until(|| next.stats().dropped.total() > 0).await;
    let dropped = next.stats().dropped;
    let counted = dropped.count(DropReason::Shutdown) + dropped.count(DropReason::Crash);
    row.shows("dropped, counted as `shutdown`", counted == 42 && dropped.count(DropReason::Shutdown) > 0);
}

pub(crate) async fn killed(row: &Row) {
    let server = FakePostHog::start();
    server.always(Reply::hang());
    kill_one_that_captures(&server, None);
    let next = client(&server).build().unwrap();
    let nobody_knows = next.stats().captured == 0 && server.distinct() == 0;
    row.shows("lost, and nobody can count them", nobody_knows);
}

pub(crate) async fn killed_with_a_spool(row: &Row) {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    kill_one_that_captures(&server, Some(directory.path()));
    let next = ready(&server, directory.path()).await;
    until(|| next.stats().delivered == 1).await;
    row.shows("what is on disk is delivered after the next start", server.distinct() == 1);
    let ledger = next.stats();
    row.shows(
        "what was in memory only is counted there, as `crash`",
        (ledger.captured, ledger.dropped.count(DropReason::Crash)) == (51, 50),
    );
    row.shows_reasons(&next.health_check().await, &["losing_events"]);
    row.shows_alerts(&next, &["Losing Events"]).await;
    assert_balanced(ledger);
}

/// Runs [`a_process_that_is_killed`] in a process of its own.
fn kill_one_that_captures(server: &FakePostHog, directory: Option<&Path>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "ends::a_process_that_is_killed", "--ignored"]);
    command.env("CRASH_AT", server.url());
    if let Some(directory) = directory {
        command.env("CRASH_IN", directory);
    }
    let output = command.output().unwrap();
    assert!(!output.status.success() && output.status.code().is_none(), "it was to be killed: {output:?}");
}

#[tokio::test]
#[ignore = "another test runs it, in a process that it kills"]
async fn a_process_that_is_killed() {
    let Ok(host) = std::env::var("CRASH_AT") else { return };
    let mut builder = PostHog::builder(FakePostHog::TOKEN).host(host).linger(HOUR);
    let directory = std::env::var_os("CRASH_IN");
    if let Some(directory) = &directory {
        builder = builder.spool(SpoolConfig::at(directory));
    }
    let posthog = builder.build().unwrap();
    capture(&posthog, 50);
    if directory.is_some() {
        until(|| state(&posthog) == SpoolState::Ready).await;
        posthog.capture_durable(event(50)).await.unwrap();
    }
    std::process::abort();
}

pub(crate) async fn runtime(row: &Row) {
    let server = FakePostHog::start();
    let url = server.url();
    let others = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { PostHog::builder(FakePostHog::TOKEN).host(url).build().unwrap() })
    });
    let posthog = others.join().unwrap();
    capture(&posthog, 20);
    let report = posthog.health_check().await;
    row.shows_reasons(&report, &["worker_stopped"]);
    row.shows_nothing_noticed(&posthog).await;
    row.shows("wait, and nobody sends them", posthog.stats().queued == 20 && server.distinct() == 0);
}

async fn ready(server: &FakePostHog, directory: &Path) -> PostHog {
    let posthog = client(server).spool(SpoolConfig::at(directory)).build().unwrap();
    until(|| state(&posthog) == SpoolState::Ready).await;
    posthog
}

fn state(posthog: &PostHog) -> SpoolState {
    posthog.health().spool.unwrap().state
}

//! What a crash costs: each test is a process of its own that is told by its environment to crash.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{AlertName, DropReason, PostHog, Reason, RolloutReason, SpoolConfig, SpoolMode};

use crate::support::{assert_balanced, capture, event, until};
use crate::{is_ready, spooled};

/// Runs this test in a child that crashes in the middle of it. True in the child.
fn crashes(test: &str, directory: &Path, server: &FakePostHog) -> bool {
    if std::env::var_os("CRASH_IN").is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]);
    command.env("CRASH_IN", directory).env("CRASH_AT", server.url());
    let status = command.status().unwrap();
    assert!(!status.success(), "it was to crash");
    false
}

fn child(mode: SpoolMode) -> PostHog {
    let directory = std::env::var_os("CRASH_IN").unwrap();
    PostHog::builder(FakePostHog::TOKEN)
        .host(std::env::var("CRASH_AT").unwrap())
        .spool(SpoolConfig::at(directory).mode(mode))
        .linger(Duration::from_secs(3600))
        .build()
        .unwrap()
}

#[tokio::test]
async fn what_capture_durable_took_outlives_a_crash() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.batch().always(Reply::hang());
    if crashes("crashes::what_capture_durable_took_outlives_a_crash", directory.path(), &server) {
        let posthog = child(SpoolMode::Overflow);
        for n in 0..20 {
            posthog.capture_durable(event(n)).await.unwrap();
        }
        std::process::abort();
    }
    server.recover();
    let posthog = spooled(&server, directory.path()).build().unwrap();
    until(|| posthog.stats().delivered == 20).await;
    assert_eq!(server.distinct(), 20);
    assert_balanced(posthog.stats());
}

/// What the modes promise: in the overflow mode, memory is lost, and counted as far as the spool had heard of
/// it; with write-ahead, nothing that was written.
#[tokio::test]
async fn a_crash_costs_what_was_in_memory_only_and_it_is_counted() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    if crashes("crashes::a_crash_costs_what_was_in_memory_only_and_it_is_counted", directory.path(), &server)
    {
        let posthog = child(SpoolMode::Overflow);
        is_ready(&posthog).await;
        capture(&posthog, 50);
        // It takes the ledger along, in which the others are in memory.
        posthog.capture_durable(event(50)).await.unwrap();
        std::process::abort();
    }
    let prometheus = PrometheusBuilder::new().build_recorder();
    let _installed = metrics::set_default_local_recorder(&prometheus);
    let posthog = spooled(&server, directory.path()).build().unwrap();
    until(|| posthog.stats().delivered == 1).await;
    let ledger = posthog.stats();
    assert_eq!((ledger.captured, ledger.dropped.count(DropReason::Crash)), (51, 50));
    assert!(posthog.health().reasons.contains(&Reason::LosingEvents));
    assert_balanced(ledger);
    // It is news, but no fault of this process.
    until(|| posthog.alerts().iter().any(|alert| alert.name == AlertName::LosingEvents)).await;
    let lost = |reason: &RolloutReason| matches!(reason, RolloutReason::LostEvents(_));
    assert!(!posthog.rollout_verdict().reasons().iter().any(lost));
    posthog.shutdown(Duration::from_secs(10)).await;
    let shown = prometheus.handle().render();
    for series in [
        "posthog_events_captured_total 51",
        "posthog_events_delivered_total 1",
        "posthog_events_dropped_total{reason=\"crash\"} 50",
    ] {
        assert!(shown.contains(series), "{series}: {shown}");
    }
}

#[tokio::test]
async fn with_write_ahead_a_crash_costs_nothing_that_was_written() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    server.batch().always(Reply::hang());
    if crashes("crashes::with_write_ahead_a_crash_costs_nothing_that_was_written", directory.path(), &server)
    {
        let posthog = child(SpoolMode::WriteAhead);
        is_ready(&posthog).await;
        capture(&posthog, 500);
        until(|| posthog.stats().spooled == 500).await;
        std::process::abort();
    }
    server.recover();
    let posthog = spooled(&server, directory.path()).build().unwrap();
    until(|| posthog.stats().delivered == 500).await;
    assert_eq!((server.distinct(), posthog.stats().dropped.total()), (500, 0));
    assert_balanced(posthog.stats());
}

/// In the default mode nothing is written while PostHog answers, but a kill leaves the counts: those of a tenth
/// of a second ago.
#[tokio::test]
async fn a_crash_of_a_healthy_process_keeps_the_counts() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    if crashes("crashes::a_crash_of_a_healthy_process_keeps_the_counts", directory.path(), &server) {
        let posthog = child(SpoolMode::Overflow);
        is_ready(&posthog).await;
        let directory = std::env::var_os("CRASH_IN").unwrap();
        let noted = |count: &str| {
            let note = std::fs::read(Path::new(&directory).join("spool-0.lock")).unwrap();
            String::from_utf8_lossy(&note).contains(count)
        };
        capture(&posthog, 100);
        posthog.flush().await.unwrap();
        until(|| noted(r#""delivered":100"#)).await;
        capture(&posthog, 20);
        until(|| noted(r#""captured":120"#)).await;
        std::process::abort();
    }
    let posthog = spooled(&server, directory.path()).build().unwrap();
    is_ready(&posthog).await;
    let ledger = posthog.stats();
    assert_eq!((ledger.captured, ledger.delivered, ledger.dropped.count(DropReason::Crash)), (120, 100, 20));
    assert_balanced(ledger);
}

/// What was not shut down is counted all the same: the last write takes the counts along.
#[tokio::test]
async fn a_dropped_client_leaves_the_counts_behind() {
    let (server, directory) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    let posthog = spooled(&server, directory.path()).linger(Duration::from_secs(3600)).build().unwrap();
    is_ready(&posthog).await;
    posthog.capture_durable(event(0)).await.unwrap();
    capture(&posthog, 10);
    drop(posthog);
    let next = spooled(&server, directory.path()).build().unwrap();
    until(|| next.stats().captured == 11 && next.stats().delivered == 1).await;
    assert_eq!(next.stats().dropped.count(DropReason::Shutdown), 10);
    assert_balanced(next.stats());
}

//! What a real Prometheus exporter shows, beside `docs/metrics.md` and `stats()`.
#![cfg(feature = "metrics")]

#[path = "support/client.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use metrics::LocalRecorderGuard;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use posthog_health::layers::circuit_breaker::State;
use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{AlertsConfig, DropReason, Event, PostHog};
use support::{MS, assert_balanced, builder, capture, until};

/// A recorder for this thread; the tests run on a runtime of one thread.
fn recorder() -> (&'static PrometheusRecorder, PrometheusHandle) {
    let recorder = PrometheusBuilder::new().set_buckets(&[0.1, 5.0]).unwrap().build_recorder();
    let handle = recorder.handle();
    (Box::leak(Box::new(recorder)), handle)
}

fn install(recorder: &'static PrometheusRecorder) -> LocalRecorderGuard<'static> {
    metrics::set_default_local_recorder(recorder)
}

/// What was scraped: the types by name, the values by name and labels.
#[derive(Debug)]
struct Scrape {
    types: BTreeMap<String, String>,
    values: BTreeMap<String, f64>,
}

impl Scrape {
    fn of(handle: &PrometheusHandle) -> Self {
        let text = handle.render();
        let mut scrape = Self { types: BTreeMap::new(), values: BTreeMap::new() };
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(of_type) = line.strip_prefix("# TYPE ") {
                let (name, kind) = of_type.split_once(' ').unwrap();
                let twice = scrape.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(twice, None, "{name}");
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                scrape.values.insert(series.to_owned(), value.parse().unwrap());
            }
        }
        scrape
    }

    fn value(&self, series: &str) -> u64 {
        *self.values.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.values)) as u64
    }

    fn sum(&self, name: &str) -> u64 {
        let of_name = self.values.iter().filter(|(series, _)| series.split('{').next() == Some(name));
        of_name.map(|(_, value)| *value as u64).sum()
    }

    fn assert_agrees_with(&self, posthog: &PostHog) {
        let ledger = posthog.stats();
        assert_balanced(ledger);
        assert_eq!(self.value("posthog_events_captured_total"), ledger.captured);
        assert_eq!(self.value("posthog_events_delivered_total"), ledger.delivered);
        assert_eq!(self.value("posthog_events_queued"), ledger.queued);
        assert_eq!(self.value("posthog_events_spooled"), ledger.spooled);
        assert_eq!(self.value("posthog_events_dead_lettered"), ledger.dead_lettered);
        for reason in DropReason::ALL {
            let series = format!("posthog_events_dropped_total{{reason=\"{}\"}}", reason.as_str());
            assert_eq!(self.value(&series), ledger.dropped.count(reason), "{series}");
        }
    }
}

/// The table of `docs/metrics.md`: name, type and label names.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let cell = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let rows = include_str!("../docs/metrics.md").lines().filter(|line| line.starts_with("| `posthog_"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').collect();
        let labels = cells[3].split(',').map(cell).filter(|label| !label.is_empty());
        (cell(cells[1]), (cell(cells[2]), labels.collect()))
    })
    .collect()
}

fn names_of_labels(series: &str) -> BTreeSet<String> {
    let labels = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
    let names = labels.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
    names.filter(|name| name != "le").collect()
}

/// Names, types and labels, of a client to which everything has happened.
#[tokio::test]
async fn what_is_scraped_is_what_is_documented() {
    let (recorder, handle) = recorder();
    let _installed = install(recorder);
    let directory = tempfile::tempdir().unwrap();
    let server = FakePostHog::start();
    let posthog = with_spool(builder(&server), directory.path()).build().unwrap();
    server.batch().then(Reply::status(503));
    capture(&posthog, 10);
    posthog.flush().await.unwrap();
    assert!(posthog.health_check().await.is_healthy());
    // When it has looked again.
    until(|| Scrape::of(&handle).values.get("posthog_events_delivered_total") == Some(&10.0)).await;
    let scrape = Scrape::of(&handle);
    let documented = documented();
    let types: BTreeMap<_, _> =
        documented.iter().map(|(name, (kind, _))| (name.clone(), kind.clone())).collect();
    assert_eq!(scrape.types, types);
    for series in scrape.values.keys() {
        let name = series.split('{').next().unwrap();
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix).filter(|base| documented.contains_key(*base)));
        let (_, labels) = &documented[base.unwrap_or(name)];
        assert_eq!(&names_of_labels(series), labels, "{series}");
    }
    // What people read is what the recorder was told.
    assert_eq!(handle.render().matches("# HELP posthog_").count(), documented.len());
}

#[cfg(feature = "spool")]
fn with_spool(
    builder: posthog_health::PostHogBuilder,
    directory: &std::path::Path,
) -> posthog_health::PostHogBuilder {
    builder.spool(posthog_health::SpoolConfig::at(directory))
}

/// Everything that can happen to an event, then the end: each count is that of `stats()`.
#[tokio::test]
async fn they_agree_with_stats_exactly() {
    let (recorder, handle) = recorder();
    let _installed = install(recorder);
    let server = FakePostHog::start();
    let posthog = builder(&server).queue_events(500).build().unwrap();
    let fresh = Scrape::of(&handle);
    assert_eq!(fresh.sum("posthog_events_dropped_total"), 0);
    fresh.assert_agrees_with(&posthog);
    server.batch().then(Reply::status(503));
    server.batch().then(Reply::status(429));
    capture(&posthog, 700);
    posthog.capture(Event::new("", "user"));
    posthog.capture(Event::new("event", ""));
    posthog.flush().await.unwrap();
    let mut poison = support::event(0);
    poison.insert_prop("poison", true).unwrap();
    server.batch().always(Reply::status(400));
    posthog.capture(poison);
    until(|| posthog.stats().dead_lettered == 1).await;
    server.batch().always(Reply::hang());
    capture(&posthog, 50);
    server.wait_for_requests(posthog_health::testing::Route::Batch, 8).await;
    posthog.shutdown(MS(50)).await;
    let scrape = Scrape::of(&handle);
    let ledger = posthog.stats();
    assert!(ledger.delivered > 0 && ledger.dead_lettered == 1, "{ledger:?}");
    assert!(
        ledger.dropped.count(DropReason::Shutdown) == 50 && ledger.dropped.count(DropReason::NoName) == 1
    );
    assert_eq!(scrape.value("posthog_events_captured_total"), ledger.captured);
    assert_eq!(scrape.value("posthog_events_delivered_total"), ledger.delivered);
    for reason in DropReason::ALL {
        let series = format!("posthog_events_dropped_total{{reason=\"{}\"}}", reason.as_str());
        assert_eq!(scrape.value(&series), ledger.dropped.count(reason), "{series}");
    }
    // The gauges went with the client.
    for gauge in ["posthog_events_queued", "posthog_events_dead_lettered", "posthog_queue_capacity_events"] {
        assert_eq!(scrape.value(gauge), 0, "{gauge}");
    }
    let attempts = |outcome: &str| {
        scrape.value(&format!("posthog_attempts_total{{surface=\"capture\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!((attempts("server"), attempts("rate_limited"), attempts("bad_request")), (1, 1, 1));
    assert_eq!(scrape.sum("posthog_attempts_total"), attempts("delivered") + 3);
    let durations = "posthog_attempt_duration_seconds_count{surface=\"capture\"}";
    assert_eq!(scrape.value(durations), scrape.sum("posthog_attempts_total"));
    assert_eq!(scrape.value("posthog_retries_total"), 2);
}

/// While it runs, the equation holds in what is scraped as well.
#[tokio::test]
async fn a_running_clients_gauges_are_those_of_health() {
    let (recorder, handle) = recorder();
    let _installed = install(recorder);
    let server = FakePostHog::start();
    server.batch().always(Reply::status(503));
    let posthog = builder(&server).alerts(AlertsConfig::default().api_down(1)).build().unwrap();
    capture(&posthog, 1_000);
    let firing = "posthog_alert_firing{alert=\"api_down\",surface=\"capture\",severity=\"P1\"}";
    until(|| Scrape::of(&handle).value(firing) == 1).await;
    let scrape = Scrape::of(&handle);
    scrape.assert_agrees_with(&posthog);
    assert_eq!(scrape.value("posthog_queue_events"), 1_000);
    assert_eq!(scrape.value("posthog_queue_capacity_events"), posthog.health().queue.capacity);
    let since = "posthog_failures_since_success{surface=\"capture\",cause=\"unavailable\"}";
    assert!(scrape.value(since) > 1);
    assert_eq!(scrape.sum("posthog_circuit_breaker_state"), 1);
    let opened = "posthog_circuit_breaker_transitions_total{to=\"open\"}";
    assert!(scrape.value(opened) > 0, "the breaker opened within a second of failures");
    server.recover();
    posthog.flush().await.unwrap();
    until(|| posthog.health().breaker.state == State::Closed).await;
    until(|| Scrape::of(&handle).value(since) == 0).await;
    until(|| Scrape::of(&handle).value("posthog_events_delivered_total") == 1_000).await;
    drop(posthog);
    assert_eq!(Scrape::of(&handle).value(firing), 0, "what has ended fires no alert");
}

#[tokio::test]
async fn clients_of_one_process_add_up() {
    let (recorder, handle) = recorder();
    let _installed = install(recorder);
    let server = FakePostHog::start();
    let (one, other) = (builder(&server).build().unwrap(), builder(&server).build().unwrap());
    capture(&one, 10);
    capture(&other, 5);
    let capacity = one.health().queue.capacity;
    assert_eq!(Scrape::of(&handle).value("posthog_queue_capacity_events"), 2 * capacity);
    one.shutdown(MS(10_000)).await;
    assert_eq!(Scrape::of(&handle).value("posthog_queue_capacity_events"), capacity);
    other.shutdown(MS(10_000)).await;
    let scrape = Scrape::of(&handle);
    assert_eq!(scrape.value("posthog_events_delivered_total"), 15);
    assert_eq!(scrape.value("posthog_queue_capacity_events"), 0);
}

/// Counters begin at 0 in each process, and what the process before lost is news.
#[cfg(feature = "spool")]
#[tokio::test]
async fn with_a_spool_they_are_what_stats_grew_by() {
    let directory = tempfile::tempdir().unwrap();
    let server = FakePostHog::start();
    let start = || with_spool(builder(&server), directory.path()).build().unwrap();
    let ready = |posthog: &PostHog| {
        posthog.health().spool.is_some_and(|spool| spool.state == posthog_health::SpoolState::Ready)
    };
    let before = start();
    until(|| ready(&before)).await;
    capture(&before, 7);
    before.shutdown(MS(10_000)).await;
    let (recorder, handle) = recorder();
    let _installed = install(recorder);
    let posthog = start();
    until(|| ready(&posthog)).await;
    capture(&posthog, 3);
    posthog.shutdown(MS(10_000)).await;
    assert_eq!((posthog.stats().captured, posthog.stats().delivered), (10, 10));
    let scrape = Scrape::of(&handle);
    assert_eq!(scrape.value("posthog_events_captured_total"), 3);
    assert_eq!(scrape.value("posthog_events_delivered_total"), 3);
}

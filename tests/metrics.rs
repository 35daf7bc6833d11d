//! What a real Prometheus exporter shows, beside `docs/metrics.md` and `stats()`.
#![cfg(feature = "metrics")]

#[path = "support/client.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, LocalRecorderGuard, Metadata, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use metrics_util::MetricKindMask;
use posthog_health::layers::CircuitState;
use posthog_health::layers::RateLimitConfig;
use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{AlertName, AlertsConfig, DropReason, Event, PostHog};
use support::{MS, assert_balanced, builder, capture, flush_lossy, until};

/// A recorder for this thread; the tests run on a runtime of one thread.
fn recorder() -> (&'static PrometheusRecorder, PrometheusHandle) {
    let recorder = PrometheusBuilder::new().set_buckets(&[0.1, 5.0]).unwrap().build_recorder();
    let handle = recorder.handle();
    (Box::leak(Box::new(recorder)), handle)
}

fn install(recorder: &'static PrometheusRecorder) -> LocalRecorderGuard<'static> {
    metrics::set_default_local_recorder(recorder)
}

/// Shows until it is dropped; then there is no recorder again.
fn recorder_that_forgets(idle: Duration) -> (&'static PrometheusRecorder, PrometheusHandle) {
    let builder = PrometheusBuilder::new().idle_timeout(MetricKindMask::ALL, Some(idle));
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    (Box::leak(Box::new(recorder)), handle)
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
        for reason in DropReason::all() {
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
    // When it has looked again, and the spool is open.
    let shows = |series: &str| Scrape::of(&handle).values.get(series).copied();
    until(|| shows("posthog_events_delivered_total") == Some(10.0)).await;
    until(|| shows("posthog_spool_state{state=\"ready\"}") == Some(1.0)).await;
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
    assert_eq!(scrape.value("posthog_probes_total{outcome=\"ok\"}"), 1);
    assert_eq!(scrape.value("posthog_spool_state{state=\"ready\"}"), 1);
    assert_eq!(scrape.value("posthog_batch_events_sum"), 10);
    assert!(scrape.value("posthog_batch_bytes_sum") > 1_000);
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
    flush_lossy(&posthog).await;
    server.reject_events_named(&["poison"]);
    support::reject(&posthog, Event::new("poison", "user")).await;
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
    for reason in DropReason::all() {
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
    assert_eq!(scrape.sum("posthog_circuit_breaker_state"), 2, "each surface has one");
    let opened = "posthog_circuit_breaker_transitions_total{surface=\"capture\",to=\"open\"}";
    assert!(scrape.value(opened) > 0, "the breaker opened within a second of failures");
    server.recover();
    posthog.flush().await.unwrap();
    until(|| posthog.health().breaker.state == CircuitState::Closed).await;
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

/// What no other test meets: slow answers, a quota, a rate limit, a probe that fails.
#[tokio::test]
async fn each_of_the_rarer_numbers_is_its_own() {
    let (recorder, handle) = recorder();
    let _installed = install(recorder);
    let server = FakePostHog::start();
    let slow = AlertsConfig::default().high_latency(MS(1));
    let pauses = RateLimitConfig::default().pause(MS(1_500), MS(1_500));
    let posthog = builder(&server).alerts(slow).rate_limit(pauses).build().unwrap();
    server.flags().always(Reply::status(503));
    assert!(!posthog.health_check().await.is_healthy());
    server.batch().then(Reply::normal().delayed(MS(20)));
    posthog.alias("anonymous-1", "undefined");
    posthog.alias("anonymous-1", "user-1");
    posthog.capture(Event::new("e", &"x".repeat(201)));
    posthog.capture(Event::new("e", &"x".repeat(200)));
    posthog.flush().await.unwrap();
    server.batch().then(Reply::status(200).body(r#"{"status":"Ok","quota_limited":["events"]}"#));
    capture(&posthog, 1);
    flush_lossy(&posthog).await;
    server.batch().then(Reply::status(429));
    capture(&posthog, 1);
    until(|| Scrape::of(&handle).value("posthog_rate_limit_paused") == 1).await;
    posthog.flush().await.unwrap();
    until(|| Scrape::of(&handle).value("posthog_rate_limit_paused") == 0).await;
    let scrape = Scrape::of(&handle);
    assert!(scrape.value("posthog_slow_attempts_total{surface=\"capture\"}") >= 1);
    assert_eq!(scrape.value("posthog_attempts_total{surface=\"capture\",outcome=\"discarded\"}"), 1);
    assert_eq!(scrape.value("posthog_failed_attempts_total{surface=\"capture\",cause=\"quota\"}"), 1);
    assert_eq!(scrape.value("posthog_failed_attempts_total{surface=\"capture\",cause=\"throttled\"}"), 1);
    assert_eq!(scrape.value("posthog_probes_total{outcome=\"server\"}"), 1);
    assert_eq!(scrape.value("posthog_unmergeable_aliases_total"), 1);
    assert_eq!(scrape.value("posthog_distinct_ids_cut_total"), 1);
    assert!(scrape.value("posthog_rate_limit_waits_total") >= 1);
    assert!(scrape.value("posthog_rate_limit_wait_seconds_total") >= 1);
    let of_capture_alone = "posthog_alert_firing{alert=\"stalled\",surface=\"flags\",severity=\"P1\"}";
    assert!(!scrape.values.contains_key(of_capture_alone));
    posthog.shutdown(MS(10_000)).await;
}

/// A recorder that comes late, and one that forgets what does not change.
#[tokio::test]
async fn no_recorder_is_shown_less_than_there_is() {
    let server = FakePostHog::start();
    let posthog = builder(&server).build().unwrap();
    capture(&posthog, 7);
    posthog.flush().await.unwrap();
    let (recorder, handle) = recorder_that_forgets(MS(2_500));
    let _installed = install(recorder);
    let capacity = posthog.health().queue.capacity as f64;
    let shows = |series: &str| Scrape::of(&handle).values.get(series).copied();
    until(|| shows("posthog_events_captured_total") == Some(7.0)).await;
    until(|| shows("posthog_queue_capacity_events") == Some(capacity)).await;
    // Looked at every second: longer than it takes to be forgotten.
    tokio::time::sleep(MS(4_000)).await;
    assert_eq!(Scrape::of(&handle).value("posthog_queue_capacity_events"), capacity as u64);
    posthog.shutdown(MS(10_000)).await;
    assert_eq!(Scrape::of(&handle).value("posthog_queue_capacity_events"), 0);
}

/// Counters begin at 0 in each process; what the one before left behind counts as captured.
#[cfg(feature = "spool")]
#[tokio::test]
async fn with_a_spool_the_equation_holds_from_the_first_look() {
    let directory = tempfile::tempdir().unwrap();
    let server = FakePostHog::start();
    server.batch().always(Reply::status(503));
    let start = || with_spool(builder(&server), directory.path()).build().unwrap();
    let ready = |posthog: &PostHog| {
        posthog.health().spool.is_some_and(|spool| spool.state == posthog_health::SpoolState::Ready)
    };
    let before = start();
    until(|| ready(&before)).await;
    capture(&before, 7);
    assert_eq!(before.shutdown(MS(2_000)).await.spooled, 7);
    let (recorder, handle) = recorder();
    let _installed = install(recorder);
    let posthog = start();
    until(|| ready(&posthog)).await;
    until(|| Scrape::of(&handle).value("posthog_events_spooled") == 7).await;
    assert_eq!(Scrape::of(&handle).value("posthog_events_captured_total"), 7);
    server.recover();
    capture(&posthog, 3);
    posthog.flush().await.unwrap();
    until(|| posthog.stats().delivered == 10).await;
    posthog.shutdown(MS(10_000)).await;
    assert_eq!((posthog.stats().captured, posthog.stats().delivered), (10, 10));
    let scrape = Scrape::of(&handle);
    assert_eq!(scrape.value("posthog_events_captured_total"), 10);
    assert_eq!(scrape.value("posthog_events_delivered_total"), 10);
}

/// A recorder is foreign code. One that panics costs its numbers, and neither delivery nor the alerts.
#[tokio::test]
async fn a_recorder_that_panics_stops_nothing() {
    struct Panicking;
    impl metrics::Recorder for Panicking {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
            panic!("a recorder's bug");
        }
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            panic!("a recorder's bug");
        }
        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            panic!("a recorder's bug");
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            panic!("a recorder's bug");
        }
    }
    let server = FakePostHog::start();
    let _recorder = metrics::set_default_local_recorder(&Panicking);
    let posthog = builder(&server).alerts(AlertsConfig::default().losing_events(0)).build().unwrap();
    capture(&posthog, 3);
    posthog.flush().await.unwrap();
    assert!(posthog.health_check().await.is_healthy());
    // The monitor goes on, too.
    posthog.capture(Event::new("", "u"));
    until(|| posthog.alerts().iter().any(|alert| alert.name == AlertName::LosingEvents)).await;
    capture(&posthog, 3);
    server.wait_for_distinct(6).await;
    posthog.shutdown(Duration::from_secs(10)).await;
}

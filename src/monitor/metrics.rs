//! The numbers as metrics, for whatever recorder the service has installed.
//!
//! They are shown once a second, so that no path of an event waits for a recorder, and those of several clients in one
//! process add up. What a distribution needs is shown as it happens.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Label, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::traffic::Cause;
use super::watch::{Scene, Sources};
use super::{AlertName, Surface};
use crate::ErrorKind;
use crate::delivery::{DropReason, Snapshot, SpoolState};
use crate::layers::circuit_breaker::State as BreakerState;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}
use Kind::{Counter, Gauge, Histogram};

/// The one table of metrics; `docs/metrics.md` is the same for people.
const TABLE: [(&str, Kind, Unit, &str); 31] = [
    (
        "posthog_events_captured_total",
        Counter,
        Unit::Count,
        "Events captured, or taken over from an earlier process",
    ),
    ("posthog_events_delivered_total", Counter, Unit::Count, "Events that PostHog took"),
    ("posthog_events_dropped_total", Counter, Unit::Count, "Events that were dropped, by reason"),
    ("posthog_events_queued", Gauge, Unit::Count, "Events in memory only, waiting or under way"),
    ("posthog_events_spooled", Gauge, Unit::Count, "Events on disk"),
    ("posthog_events_dead_lettered", Gauge, Unit::Count, "Events that PostHog will not take"),
    ("posthog_attempts_total", Counter, Unit::Count, "Requests with events, by what came of them"),
    ("posthog_failed_attempts_total", Counter, Unit::Count, "What the alerts count, by cause"),
    ("posthog_slow_attempts_total", Counter, Unit::Count, "Attempts slower than High Latency allows"),
    (
        "posthog_failures_since_success",
        Gauge,
        Unit::Count,
        "What went wrong since the last success, by cause",
    ),
    ("posthog_attempt_duration_seconds", Histogram, Unit::Seconds, "How long an attempt took"),
    ("posthog_batch_events", Histogram, Unit::Count, "Events in a batch"),
    ("posthog_batch_bytes", Histogram, Unit::Bytes, "JSON of a batch's events, before compression"),
    ("posthog_retries_total", Counter, Unit::Count, "Attempts after the first of a batch"),
    ("posthog_rate_limit_waits_total", Counter, Unit::Count, "Attempts that waited for a token"),
    ("posthog_rate_limit_wait_seconds_total", Counter, Unit::Seconds, "How long they waited, all together"),
    (
        "posthog_rate_limit_paused",
        Gauge,
        Unit::Count,
        "1 from where PostHog asks for fewer requests until it answers",
    ),
    ("posthog_circuit_breaker_state", Gauge, Unit::Count, "1 for the present state, 0 for the others"),
    ("posthog_circuit_breaker_transitions_total", Counter, Unit::Count, "State changes, by the new state"),
    ("posthog_queue_events", Gauge, Unit::Count, "Events in memory"),
    ("posthog_queue_capacity_events", Gauge, Unit::Count, "The bound on them"),
    ("posthog_queue_bytes", Gauge, Unit::Bytes, "Bytes of the events in memory"),
    ("posthog_queue_capacity_bytes", Gauge, Unit::Bytes, "The bound on them"),
    ("posthog_spool_bytes", Gauge, Unit::Bytes, "Bytes of the events on disk"),
    ("posthog_spool_capacity_bytes", Gauge, Unit::Bytes, "The bound on them"),
    ("posthog_spool_file_bytes", Gauge, Unit::Bytes, "Bytes of the spool's file"),
    ("posthog_spool_state", Gauge, Unit::Count, "1 for the present state, 0 for the others"),
    ("posthog_probes_total", Counter, Unit::Count, "Health probes, by what they found"),
    ("posthog_probe_duration_seconds", Histogram, Unit::Seconds, "How long a health probe took"),
    ("posthog_alert_firing", Gauge, Unit::Count, "1 while the alert fires"),
    ("posthog_health_info", Gauge, Unit::Count, "1, with the versions of what runs here"),
];

pub(super) fn describe() {
    for (name, kind, unit, what) in TABLE {
        match kind {
            Counter => describe_counter!(name, unit, what),
            Gauge => describe_gauge!(name, unit, what),
            Histogram => describe_histogram!(name, unit, what),
        }
    }
    for outcome in probe_outcomes() {
        counter!("posthog_probes_total", "outcome" => outcome).increment(0);
    }
}

pub(super) fn attempt(surface: Surface, latency: Duration) {
    histogram!("posthog_attempt_duration_seconds", "surface" => surface.as_str()).record(latency);
}

pub(crate) fn batch(events: usize, bytes: usize) {
    histogram!("posthog_batch_events").record(events as f64);
    histogram!("posthog_batch_bytes").record(bytes as f64);
}

pub(crate) fn probe(failure: Option<ErrorKind>, latency: Duration) {
    counter!("posthog_probes_total", "outcome" => failure.map_or("ok", ErrorKind::as_str)).increment(1);
    histogram!("posthog_probe_duration_seconds").record(latency);
}

fn probe_outcomes() -> impl Iterator<Item = &'static str> {
    std::iter::once("ok").chain(attempt_errors().map(ErrorKind::as_str))
}

/// What an attempt can meet: an open breaker makes none.
fn attempt_errors() -> impl Iterator<Item = ErrorKind> {
    ErrorKind::ALL.into_iter().filter(|kind| *kind != ErrorKind::CircuitOpen)
}

/// What one client has shown, and to whom.
#[derive(Debug, Default)]
pub(super) struct Published {
    recorder: usize,
    values: HashMap<Series, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Series {
    kind: Kind,
    name: &'static str,
    labels: Vec<Label>,
}

/// The gauges of all clients together, by recorder. They are set, again and again, since an exporter may forget
/// those that do not change.
static GAUGES: Mutex<BTreeMap<usize, HashMap<Series, u64>>> = Mutex::new(BTreeMap::new());

impl Published {
    /// Shows the numbers as they are. A recorder that was not there before is shown all from the beginning.
    pub(super) fn update(&mut self, samples: Samples) {
        let recorder = recorder();
        if self.recorder != recorder {
            *self = Self { recorder, values: HashMap::new() };
        }
        for (series, value) in samples.0 {
            let before = self.values.get(&series).copied();
            match series.kind {
                // A damaged spool may take a count back; a counter stays.
                Counter if before.is_some_and(|before| value <= before) => continue,
                Counter => series.count(value - before.unwrap_or(0)),
                _ => series.set(recorder, before.unwrap_or(0), value),
            }
            self.values.insert(series, value);
        }
    }

    /// Takes the gauges back: what has ended is in no state.
    pub(super) fn withdraw(&mut self) {
        for (series, value) in self.values.drain().filter(|(series, _)| series.kind == Gauge) {
            series.set(self.recorder, value, 0);
        }
    }
}

/// Tells recorders apart: the service may install one after it has built a client, tests one for each thread.
fn recorder() -> usize {
    metrics::with_recorder(|recorder| std::ptr::from_ref(recorder).cast::<()>().addr())
}

impl Series {
    fn count(&self, more: u64) {
        counter!(self.name, self.labels.clone()).increment(more);
    }

    fn set(&self, recorder: usize, before: u64, value: u64) {
        let mut gauges = GAUGES.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = gauges.entry(recorder).or_default();
        let others = sums.get(self).copied().unwrap_or(0).saturating_sub(before);
        let sum = others + value;
        if sums.get(self) != Some(&sum) {
            sums.insert(self.clone(), sum);
        }
        drop(gauges);
        gauge!(self.name, self.labels.clone()).set(sum as f64);
    }
}

/// All counters and gauges as they are.
pub(super) fn samples(scene: &Scene<'_>) -> Samples {
    let mut samples = Samples(Vec::with_capacity(128));
    scene.ledger(&mut samples);
    Surface::ALL.into_iter().for_each(|surface| scene.traffic(&mut samples, surface));
    scene.layers(&mut samples);
    scene.fill(&mut samples);
    scene.alerts(&mut samples);
    samples.gauge("posthog_health_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    samples
}

impl Scene<'_> {
    /// This process's counts: what a spool remembers of earlier ones was theirs to show, but for the events that they
    /// left behind.
    fn ledger(&self, samples: &mut Samples) {
        let Snapshot { own, taken_over, found_lost, ledger, .. } = self.snapshot;
        samples.counter("posthog_events_captured_total", &[], own.captured + taken_over);
        samples.counter("posthog_events_delivered_total", &[], own.delivered);
        for reason in DropReason::ALL {
            let labels = [("reason", reason.as_str())];
            let found = if reason == DropReason::Crash { *found_lost } else { 0 };
            samples.counter("posthog_events_dropped_total", &labels, own.dropped.count(reason) + found);
        }
        samples.gauge("posthog_events_queued", &[], ledger.queued);
        samples.gauge("posthog_events_spooled", &[], ledger.spooled);
        samples.gauge("posthog_events_dead_lettered", &[], ledger.dead_lettered);
    }

    fn traffic(&self, samples: &mut Samples, surface: Surface) {
        let traffic = &self.traffic[surface as usize];
        let totals = traffic.totals();
        let surface = ("surface", surface.as_str());
        let mut outcome = |outcome, count| {
            samples.counter("posthog_attempts_total", &[surface, ("outcome", outcome)], count);
        };
        outcome("delivered", totals.delivered);
        outcome("discarded", totals.discarded);
        attempt_errors().for_each(|kind| outcome(kind.as_str(), totals.failed[kind as usize]));
        for cause in Cause::ALL {
            let labels = [surface, ("cause", cause.as_str())];
            match cause {
                Cause::Slow => {
                    samples.counter("posthog_slow_attempts_total", &[surface], totals.causes[cause as usize]);
                }
                _ => {
                    samples.counter("posthog_failed_attempts_total", &labels, totals.causes[cause as usize]);
                }
            }
            let streak = traffic.streak(cause).map_or(0, |streak| streak.length.into());
            samples.gauge("posthog_failures_since_success", &labels, streak);
        }
    }

    fn layers(&self, samples: &mut Samples) {
        let Sources { breakers, limiter, retries, .. } = self.sources;
        samples.counter("posthog_retries_total", &[], retries.count());
        samples.counter("posthog_rate_limit_waits_total", &[], limiter.waits());
        samples.counter("posthog_rate_limit_wait_seconds_total", &[], limiter.waited().as_secs());
        samples.gauge("posthog_rate_limit_paused", &[], limiter.is_paused().into());
        for (surface, breaker) in Surface::ALL.into_iter().zip(breakers) {
            let (surface, now) = (("surface", surface.as_str()), breaker.state());
            for state in BreakerState::ALL {
                let (is_now, transitions) = (state == now, breaker.transitions(state));
                let labels = [surface, ("state", state.as_str())];
                samples.gauge("posthog_circuit_breaker_state", &labels, is_now.into());
                let labels = [surface, ("to", state.as_str())];
                samples.counter("posthog_circuit_breaker_transitions_total", &labels, transitions);
            }
        }
    }

    fn fill(&self, samples: &mut Samples) {
        let Snapshot { fill, spool, .. } = self.snapshot;
        samples.gauge("posthog_queue_events", &[], fill.events);
        samples.gauge("posthog_queue_capacity_events", &[], fill.capacity);
        samples.gauge("posthog_queue_bytes", &[], fill.bytes);
        samples.gauge("posthog_queue_capacity_bytes", &[], fill.capacity_bytes);
        let Some(spool) = spool else { return };
        samples.gauge("posthog_spool_bytes", &[], spool.bytes);
        samples.gauge("posthog_spool_capacity_bytes", &[], spool.capacity_bytes);
        samples.gauge("posthog_spool_file_bytes", &[], spool.file_bytes);
        for state in [SpoolState::Opening, SpoolState::Ready, SpoolState::Full, SpoolState::Failing] {
            let labels = [("state", state.as_str())];
            samples.gauge("posthog_spool_state", &labels, (state == spool.state).into());
        }
    }

    fn alerts(&self, samples: &mut Samples) {
        for (surface, name) in Surface::ALL.into_iter().flat_map(|s| AlertName::ALL.map(|name| (s, name))) {
            let Some(severity) = self.alerts.severity_of(name).filter(|_| name.concerns(surface)) else {
                continue;
            };
            let labels =
                [("alert", name.code()), ("surface", surface.as_str()), ("severity", severity.as_str())];
            samples.gauge("posthog_alert_firing", &labels, self.board.fires(surface, name).into());
        }
    }
}

pub(super) struct Samples(Vec<(Series, u64)>);

impl Samples {
    fn counter(&mut self, name: &'static str, labels: &[(&'static str, &'static str)], value: u64) {
        self.push(Counter, name, labels, value);
    }

    fn gauge(&mut self, name: &'static str, labels: &[(&'static str, &'static str)], value: u64) {
        self.push(Gauge, name, labels, value);
    }

    fn push(&mut self, kind: Kind, name: &'static str, labels: &[(&'static str, &'static str)], value: u64) {
        let labels = labels.iter().map(|(key, value)| Label::from_static_parts(key, value)).collect();
        self.0.push((Series { kind, name, labels }, value));
    }
}

use super::attempt_errors;
use super::published::Series;
use crate::api::{CaptureProtocol, CaptureWarning};
use crate::delivery::{DropReason, Snapshot, SpoolState, VerdictKind};
use crate::error::AlertCause;
use crate::layers::CircuitState;
use crate::monitor::firing::FiringAlerts;
use crate::monitor::rules::View;
use crate::monitor::sources::Sources;
use crate::monitor::traffic::Traffic;
use crate::monitor::{AlertName, AlertsConfig, Surface};
use crate::rt::metrics::table::{self, Metric};

/// Reads all counters and gauges.
pub fn samples(view: &View<'_>, sources: &Sources, firing: &FiringAlerts, alerts: &AlertsConfig) -> Samples {
    let mut samples = Samples(Vec::with_capacity(128));
    samples.add_ledger(view.snapshot);
    samples.add_capture(sources);
    for surface in Surface::ALL {
        samples.add_traffic(surface, &view.traffic[surface as usize]);
    }
    samples.add_layers(view, sources);
    samples.add_fill(view.snapshot);
    samples.add_alerts(firing, alerts);
    samples.add(table::HEALTH_INFO, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    samples
}

/// The values of counters and gauges, by series.
#[derive(Debug)]
pub struct Samples(pub Vec<(Series, u64)>);

impl Samples {
    fn add(&mut self, metric: &Metric, labels: &[(&'static str, &'static str)], value: u64) {
        self.0.push((Series::new(metric, labels), value));
    }

    /// Adds this process's counts. Earlier processes published the counts that a spool carries over from them, except
    /// for the events that they left behind.
    fn add_ledger(&mut self, snapshot: &Snapshot) {
        let Snapshot { own, taken_over, found_lost, ledger, unmergeable, cut_ids, .. } = snapshot;
        self.add(table::EVENTS_CAPTURED, &[], own.captured + taken_over);
        self.add(table::EVENTS_DELIVERED, &[], own.delivered);
        for reason in DropReason::ALL {
            let labels = [("reason", reason.as_str())];
            let found = if reason == DropReason::Crash { *found_lost } else { 0 };
            self.add(table::EVENTS_DROPPED, &labels, own.dropped.count(reason) + found);
        }
        self.add(table::EVENTS_QUEUED, &[], ledger.queued);
        self.add(table::EVENTS_SPOOLED, &[], ledger.spooled);
        self.add(table::EVENTS_DEAD_LETTERED, &[], ledger.dead_lettered);
        self.add(table::UNMERGEABLE_ALIASES, &[], *unmergeable);
        self.add(table::DISTINCT_IDS_CUT, &[], *cut_ids);
    }

    fn add_capture(&mut self, sources: &Sources) {
        let Sources { verdicts, protocols, .. } = sources;
        for kind in VerdictKind::ALL {
            self.add(table::EVENT_VERDICTS, &[("verdict", kind.as_str())], verdicts.of(kind));
        }
        for warning in CaptureWarning::ALL {
            self.add(table::CAPTURE_WARNINGS, &[("warning", warning.as_str())], verdicts.warnings(warning));
        }
        for protocol in [CaptureProtocol::V0, CaptureProtocol::V1] {
            let is_now = protocols.current().protocol == protocol;
            self.add(table::CAPTURE_PROTOCOL, &[("protocol", protocol.as_str())], is_now.into());
        }
    }

    fn add_traffic(&mut self, surface: Surface, traffic: &Traffic) {
        let totals = traffic.totals;
        let surface = ("surface", surface.as_str());
        let mut outcome = |outcome, count| {
            self.add(table::ATTEMPTS, &[surface, ("outcome", outcome)], count);
        };
        outcome("delivered", totals.delivered);
        outcome("discarded", totals.discarded);
        attempt_errors().for_each(|kind| outcome(kind.as_str(), totals.failed[kind as usize]));
        for cause in AlertCause::ALL {
            let labels = [surface, ("cause", cause.as_str())];
            let count = totals.causes[cause as usize];
            match cause {
                AlertCause::HighLatency => self.add(table::SLOW_ATTEMPTS, &[surface], count),
                _ => self.add(table::FAILED_ATTEMPTS, &labels, count),
            }
            let streak = traffic.streak(cause).map_or(0, |streak| streak.length.into());
            self.add(table::FAILURES_SINCE_SUCCESS, &labels, streak);
        }
    }

    fn add_layers(&mut self, view: &View<'_>, sources: &Sources) {
        let Sources { breakers, limiter, retries, .. } = sources;
        self.add(table::RETRIES, &[], retries.count());
        self.add(table::RATE_LIMIT_WAITS, &[], limiter.waits());
        self.add(table::RATE_LIMIT_WAIT_SECONDS, &[], limiter.waited().as_secs());
        self.add(table::RATE_LIMIT_PAUSED, &[], limiter.is_paused().into());
        for ((surface, breaker), now) in Surface::ALL.into_iter().zip(breakers).zip(view.breakers) {
            let surface = ("surface", surface.as_str());
            for state in CircuitState::ALL {
                let (is_now, transitions) = (state == now, breaker.transitions(state));
                let labels = [surface, ("state", state.as_str())];
                self.add(table::CIRCUIT_BREAKER_STATE, &labels, is_now.into());
                let labels = [surface, ("to", state.as_str())];
                self.add(table::CIRCUIT_BREAKER_TRANSITIONS, &labels, transitions);
            }
        }
    }

    fn add_fill(&mut self, snapshot: &Snapshot) {
        let Snapshot { fill, spool, .. } = snapshot;
        self.add(table::QUEUE_EVENTS, &[], fill.events);
        self.add(table::QUEUE_CAPACITY_EVENTS, &[], fill.capacity);
        self.add(table::QUEUE_BYTES, &[], fill.bytes);
        self.add(table::QUEUE_CAPACITY_BYTES, &[], fill.capacity_bytes);
        let Some(spool) = spool else { return };
        self.add(table::SPOOL_BYTES, &[], spool.bytes);
        self.add(table::SPOOL_CAPACITY_BYTES, &[], spool.capacity_bytes);
        self.add(table::SPOOL_FILE_BYTES, &[], spool.file_bytes);
        for state in SpoolState::ALL {
            let labels = [("state", state.as_str())];
            self.add(table::SPOOL_STATE, &labels, (state == spool.state).into());
        }
    }

    fn add_alerts(&mut self, firing: &FiringAlerts, alerts: &AlertsConfig) {
        for (surface, name) in Surface::ALL.into_iter().flat_map(|s| AlertName::ALL.map(|name| (s, name))) {
            let Some(severity) = alerts.severity_of(name).filter(|_| name.applies_to(surface)) else {
                continue;
            };
            let labels =
                [("alert", name.code()), ("surface", surface.as_str()), ("severity", severity.as_str())];
            self.add(table::ALERT_FIRING, &labels, firing.contains(surface, name).into());
        }
    }
}

use super::attempt_errors;
use super::published::Series;
use super::table::{self, Metric};
use crate::delivery::{DropReason, Snapshot, SpoolState};
use crate::layers::CircuitState;
use crate::monitor::cause::Cause;
use crate::monitor::looks::{Scene, Sources};
use crate::monitor::{AlertName, Surface};

/// All counters and gauges as they are.
pub(in crate::monitor) fn samples(scene: &Scene<'_>) -> Samples {
    let mut samples = Samples(Vec::with_capacity(128));
    scene.ledger(&mut samples);
    Surface::ALL.into_iter().for_each(|surface| scene.traffic(&mut samples, surface));
    scene.layers(&mut samples);
    scene.fill(&mut samples);
    scene.alerts(&mut samples);
    samples.add(table::HEALTH_INFO, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    samples
}

/// Values of counters and gauges, by series.
#[derive(Debug)]
pub(in crate::monitor) struct Samples(pub(super) Vec<(Series, u64)>);

impl Samples {
    fn add(&mut self, metric: &Metric, labels: &[(&'static str, &'static str)], value: u64) {
        self.0.push((Series::new(metric, labels), value));
    }
}

impl Scene<'_> {
    /// This process's counts: what a spool remembers of earlier ones was theirs to show, but for the events that they
    /// left behind.
    fn ledger(&self, samples: &mut Samples) {
        let Snapshot { own, taken_over, found_lost, ledger, .. } = self.snapshot;
        samples.add(table::EVENTS_CAPTURED, &[], own.captured + taken_over);
        samples.add(table::EVENTS_DELIVERED, &[], own.delivered);
        for reason in DropReason::ALL {
            let labels = [("reason", reason.as_str())];
            let found = if reason == DropReason::Crash { *found_lost } else { 0 };
            samples.add(table::EVENTS_DROPPED, &labels, own.dropped.count(reason) + found);
        }
        samples.add(table::EVENTS_QUEUED, &[], ledger.queued);
        samples.add(table::EVENTS_SPOOLED, &[], ledger.spooled);
        samples.add(table::EVENTS_DEAD_LETTERED, &[], ledger.dead_lettered);
    }

    fn traffic(&self, samples: &mut Samples, surface: Surface) {
        let traffic = &self.traffic[surface as usize];
        let totals = traffic.totals();
        let surface = ("surface", surface.as_str());
        let mut outcome = |outcome, count| {
            samples.add(table::ATTEMPTS, &[surface, ("outcome", outcome)], count);
        };
        outcome("delivered", totals.delivered);
        outcome("discarded", totals.discarded);
        attempt_errors().for_each(|kind| outcome(kind.as_str(), totals.failed[kind as usize]));
        for cause in Cause::ALL {
            let labels = [surface, ("cause", cause.as_str())];
            match cause {
                Cause::Slow => {
                    samples.add(table::SLOW_ATTEMPTS, &[surface], totals.causes[cause as usize]);
                }
                _ => {
                    samples.add(table::FAILED_ATTEMPTS, &labels, totals.causes[cause as usize]);
                }
            }
            let streak = traffic.streak(cause).map_or(0, |streak| streak.length.into());
            samples.add(table::FAILURES_SINCE_SUCCESS, &labels, streak);
        }
    }

    fn layers(&self, samples: &mut Samples) {
        let Sources { breakers, limiter, retries, .. } = self.sources;
        samples.add(table::RETRIES, &[], retries.count());
        samples.add(table::RATE_LIMIT_WAITS, &[], limiter.waits());
        samples.add(table::RATE_LIMIT_WAIT_SECONDS, &[], limiter.waited().as_secs());
        samples.add(table::RATE_LIMIT_PAUSED, &[], limiter.is_paused().into());
        for (surface, breaker) in Surface::ALL.into_iter().zip(breakers) {
            let (surface, now) = (("surface", surface.as_str()), breaker.state());
            for state in CircuitState::ALL {
                let (is_now, transitions) = (state == now, breaker.transitions(state));
                let labels = [surface, ("state", state.as_str())];
                samples.add(table::CIRCUIT_BREAKER_STATE, &labels, is_now.into());
                let labels = [surface, ("to", state.as_str())];
                samples.add(table::CIRCUIT_BREAKER_TRANSITIONS, &labels, transitions);
            }
        }
    }

    fn fill(&self, samples: &mut Samples) {
        let Snapshot { fill, spool, .. } = self.snapshot;
        samples.add(table::QUEUE_EVENTS, &[], fill.events);
        samples.add(table::QUEUE_CAPACITY_EVENTS, &[], fill.capacity);
        samples.add(table::QUEUE_BYTES, &[], fill.bytes);
        samples.add(table::QUEUE_CAPACITY_BYTES, &[], fill.capacity_bytes);
        let Some(spool) = spool else { return };
        samples.add(table::SPOOL_BYTES, &[], spool.bytes);
        samples.add(table::SPOOL_CAPACITY_BYTES, &[], spool.capacity_bytes);
        samples.add(table::SPOOL_FILE_BYTES, &[], spool.file_bytes);
        for state in SpoolState::ALL {
            let labels = [("state", state.as_str())];
            samples.add(table::SPOOL_STATE, &labels, (state == spool.state).into());
        }
    }

    fn alerts(&self, samples: &mut Samples) {
        for (surface, name) in Surface::ALL.into_iter().flat_map(|s| AlertName::ALL.map(|name| (s, name))) {
            let Some(severity) = self.alerts.severity_of(name).filter(|_| name.concerns(surface)) else {
                continue;
            };
            let labels =
                [("alert", name.code()), ("surface", surface.as_str()), ("severity", severity.as_str())];
            samples.add(table::ALERT_FIRING, &labels, self.board.fires(surface, name).into());
        }
    }
}

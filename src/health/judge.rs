//! Derives the health report from all that is known. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::Reason;
use super::probe::Finding;
use super::report::{BreakerHealth, CaptureHealth, Connection, HealthReport, LastError, Status, Versions};
use crate::ErrorKind;
use crate::delivery::{Snapshot, SpoolState};
use crate::layers::CircuitState;
use crate::monitor::{Alert, SPOOL_FULL_SOON, Summary};
use crate::rt::POSTHOG_RS;

/// Everything that a report is derived from.
#[derive(Clone, Debug)]
pub struct Evidence {
    pub client: ClientState,
    pub probe: Option<Finding>,
    pub summary: Summary,
    pub capture: Option<CaptureHealth>,
    /// When PostHog last said that it updates no person for an event.
    pub without_person: Option<Instant>,
    pub breaker: BreakerHealth,
    pub queue: Snapshot,
    pub alerts: Vec<Alert>,
    pub now: Instant,
}

/// Whether the client can deliver at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    Running,
    Disabled,
    /// It accepts nothing new, and delivers what it has.
    ShuttingDown,
    ShutDown,
    WorkerStopped,
}

/// How long a lost event or a dead letter degrades the report: longer than a readiness probe's period, so that each is
/// seen once.
const NEWS: Duration = Duration::from_secs(60);

pub fn report(evidence: Evidence) -> HealthReport {
    let reasons = reasons(&evidence);
    let posthog = connection(&evidence);
    let is_current = evidence.summary.current_error().is_some();
    let Evidence { capture, summary, breaker, queue, alerts, now, .. } = evidence;
    HealthReport {
        status: if reasons.is_empty() { Status::Healthy } else { Status::Degraded },
        posthog,
        capture,
        reasons,
        breaker,
        queue: queue.fill,
        spool: queue.spool,
        ledger: queue.ledger,
        last_success: summary.success.map(|seen| now.saturating_duration_since(seen.at)),
        last_error: summary.error.map(|seen| LastError {
            kind: seen.what.kind,
            status: seen.what.status,
            answer: summary.rejection.as_deref().filter(|_| is_current).map(str::to_owned),
            age: now.saturating_duration_since(seen.at),
        }),
        alerts,
        versions: Versions { posthog_health: env!("CARGO_PKG_VERSION"), posthog_rs: POSTHOG_RS },
    }
}

/// The probe checks host and token, so its finding comes first. Without one, the latest attempt decides.
fn connection(evidence: &Evidence) -> Connection {
    // An error that no alert counts says nothing against PostHog: a server that rejects a batch is connected.
    let disconnects = |kind: ErrorKind| kind.meaning().alert.is_some();
    let current_error = evidence.summary.current_error().filter(|failure| disconnects(failure.kind));
    let (known, failure, latency) = match (evidence.client, evidence.probe) {
        (ClientState::Disabled, _) => {
            return Connection { connected: Some(false), latency: None, error: None, status: None };
        }
        (_, Some(finding)) => (true, finding.failure, Some(finding.latency)),
        (_, None) => (evidence.summary.latency().is_some(), current_error, evidence.summary.latency()),
    };
    Connection {
        connected: known.then_some(failure.is_none()),
        latency,
        error: failure.map(|failure| failure.kind),
        status: failure.and_then(|failure| failure.status),
    }
}

fn reasons(evidence: &Evidence) -> Vec<Reason> {
    let Evidence { client, probe, summary, breaker, queue, .. } = evidence;
    let mut reasons = match *client {
        ClientState::Running => Vec::new(),
        ClientState::ShuttingDown => vec![Reason::ShuttingDown],
        ClientState::WorkerStopped => vec![Reason::WorkerStopped],
        ClientState::Disabled => return vec![Reason::Disabled],
        ClientState::ShutDown => return vec![Reason::ShutDown],
    };
    let is_news =
        |at: Option<Instant>| at.is_some_and(|at| evidence.now.saturating_duration_since(at) < NEWS);
    let mut add = |reason: Reason| {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    };
    let failures = [probe.and_then(|finding| finding.failure), summary.current_error()];
    failures.into_iter().flatten().filter_map(|failure| failure.kind.meaning().reason).for_each(&mut add);
    if summary.over_quota {
        add(Reason::QuotaExceeded);
    }
    if breaker.state != CircuitState::Closed {
        add(Reason::BreakerOpen);
    }
    let fill = queue.fill;
    if fill.events * 5 >= fill.capacity * 4 || fill.bytes * 5 >= fill.capacity_bytes * 4 {
        add(Reason::QueueFilling);
    }
    if let Some(spool) = queue.spool {
        if spool.state == SpoolState::Failing {
            add(Reason::SpoolFailing);
        } else if spool.issue.is_some() {
            add(Reason::SpoolDamaged);
        }
        let fills_soon = spool.full_in.is_some_and(|time| time < SPOOL_FULL_SOON);
        if spool.state == SpoolState::Full || fills_soon || spool.bytes >= spool.capacity_bytes / 5 * 4 {
            add(Reason::SpoolFilling);
        }
    }
    if is_news(queue.last_dead_letter) {
        add(Reason::RejectedEvents);
    }
    if is_news(evidence.without_person) {
        add(Reason::PersonProcessingDisabled);
    }
    if is_news(queue.last_loss) {
        add(Reason::LosingEvents);
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SpoolIssue;
    use crate::delivery::{QueueFill, SpoolHealth};

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the reasons of a report in which this change is the only trouble.
    fn reasons_of(change: impl FnOnce(&mut Evidence)) -> Vec<Reason> {
        let mut evidence = Evidence {
            client: ClientState::Running,
            probe: None,
            capture: None,
            without_person: None,
            summary: Summary::default(),
            breaker: BreakerHealth { state: CircuitState::Closed, retry_in: None },
            queue: Snapshot {
                fill: QueueFill { capacity: 1_000, capacity_bytes: 1_000, ..QueueFill::default() },
                ..Snapshot::default()
            },
            alerts: Vec::new(),
            now: Instant::now() + 10 * NEWS,
        };
        change(&mut evidence);
        let report = report(evidence);
        assert_eq!(report.is_healthy(), report.reasons.is_empty());
        assert_eq!(report.to_string(), report.to_json());
        report.reasons
    }

    #[test]
    fn a_queue_at_four_fifths_of_its_events_or_bytes_fills() {
        let of = |events, bytes| {
            reasons_of(|evidence| {
                let fill = QueueFill { events, capacity: 1_000, bytes, capacity_bytes: 1_000 };
                evidence.queue.fill = fill;
            })
        };
        assert_eq!(of(799, 799), []);
        assert_eq!(of(800, 799), [Reason::QueueFilling]);
        assert_eq!(of(799, 800), [Reason::QueueFilling]);
    }

    #[test]
    fn a_spool_fills_at_four_fifths_or_when_it_will_be_full_within_the_hour() {
        let of = |change: fn(&mut SpoolHealth)| {
            reasons_of(|evidence| {
                let mut spool = SpoolHealth {
                    state: SpoolState::Ready,
                    issue: None,
                    events: 0,
                    bytes: 799,
                    capacity_bytes: 1_000,
                    file_bytes: 0,
                    full_in: Some(SPOOL_FULL_SOON),
                };
                change(&mut spool);
                evidence.queue.spool = Some(spool);
            })
        };
        assert_eq!(of(|_| ()), []);
        assert_eq!(of(|spool| spool.bytes = 800), [Reason::SpoolFilling]);
        assert_eq!(of(|spool| spool.full_in = Some(SPOOL_FULL_SOON - SECOND)), [Reason::SpoolFilling]);
        assert_eq!(of(|spool| spool.state = SpoolState::Full), [Reason::SpoolFilling]);
        assert_eq!(of(|spool| spool.issue = Some(SpoolIssue::Damaged)), [Reason::SpoolDamaged]);
        let fails = |spool: &mut SpoolHealth| {
            (spool.state, spool.issue) = (SpoolState::Failing, Some(SpoolIssue::Io));
        };
        assert_eq!(of(fails), [Reason::SpoolFailing]);
    }

    #[test]
    fn a_loss_a_dead_letter_and_a_warning_are_news_for_a_minute() {
        for (age, is_news) in [(NEWS - SECOND, true), (NEWS, false)] {
            let lost = reasons_of(|evidence| evidence.queue.last_loss = Some(evidence.now - age));
            assert_eq!(lost == [Reason::LosingEvents], is_news, "{lost:?}");
            let dead_lettered =
                reasons_of(|evidence| evidence.queue.last_dead_letter = Some(evidence.now - age));
            assert_eq!(dead_lettered == [Reason::RejectedEvents], is_news, "{dead_lettered:?}");
            let warned = reasons_of(|evidence| evidence.without_person = Some(evidence.now - age));
            assert_eq!(warned == [Reason::PersonProcessingDisabled], is_news, "{warned:?}");
        }
    }

    #[test]
    fn a_client_that_does_nothing_says_that_alone() {
        for (client, reason) in [
            (ClientState::Disabled, Reason::Disabled),
            (ClientState::ShuttingDown, Reason::ShuttingDown),
            (ClientState::ShutDown, Reason::ShutDown),
            (ClientState::WorkerStopped, Reason::WorkerStopped),
        ] {
            assert_eq!(reasons_of(|evidence| evidence.client = client), [reason]);
        }
        assert_eq!(reasons_of(|evidence| evidence.breaker.state = CircuitState::Open), [Reason::BreakerOpen]);
    }
}

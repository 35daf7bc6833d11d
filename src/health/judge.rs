//! How it is, by all that is known: judgement only.

use std::time::Duration;

use tokio::time::Instant;

use super::Reason;
use super::probe::Finding;
use super::report::{BreakerHealth, Connection, HealthReport, LastError, Status, Versions};
use crate::ErrorKind;
use crate::delivery::{Snapshot, SpoolState};
use crate::layers::CircuitState;
use crate::monitor::{Alert, Signs};

/// Everything that a report is made of.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    pub(crate) life: Life,
    pub(crate) probe: Option<Finding>,
    pub(crate) signs: Signs,
    pub(crate) breaker: BreakerHealth,
    pub(crate) queue: Snapshot,
    pub(crate) alerts: Vec<Alert>,
    pub(crate) now: Instant,
}

/// Whether the client does anything at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    Disabled,
    ShutDown,
    WorkerStopped,
}

/// How long a loss or a dead letter is news.
const NEWS: Duration = Duration::from_secs(60);

/// A spool that is full before that is a matter for now.
const SOON: Duration = Duration::from_secs(3600);

pub(crate) fn report(evidence: Evidence) -> HealthReport {
    let reasons = reasons(&evidence);
    let posthog = connection(&evidence);
    let Evidence { signs, breaker, queue, alerts, now, .. } = evidence;
    HealthReport {
        status: if reasons.is_empty() { Status::Healthy } else { Status::Degraded },
        posthog,
        reasons,
        breaker,
        queue: queue.fill,
        spool: queue.spool,
        ledger: queue.ledger,
        last_success: signs.success.map(|seen| now.saturating_duration_since(seen.at)),
        last_error: signs.error.map(|seen| LastError {
            kind: seen.what.kind,
            status: seen.what.status,
            age: now.saturating_duration_since(seen.at),
        }),
        alerts,
        versions: Versions { posthog_health: env!("CARGO_PKG_VERSION"), posthog_rs: "0.30" },
    }
}

/// The probe knows best; without one, the latest attempt does.
fn connection(evidence: &Evidence) -> Connection {
    // An error that no alert counts says nothing against PostHog: whoever rejects a batch is there.
    let disconnects = |kind: ErrorKind| kind.meaning().alert.is_some();
    let standing = evidence.signs.standing_error().filter(|failure| disconnects(failure.kind));
    let (known, failure, latency) = match (evidence.life, evidence.probe) {
        (Life::Disabled, _) => {
            return Connection { connected: Some(false), latency: None, error: None, status: None };
        }
        (_, Some(finding)) => (true, finding.failure, Some(finding.latency)),
        (_, None) => (evidence.signs.latency().is_some(), standing, evidence.signs.latency()),
    };
    Connection {
        connected: known.then_some(failure.is_none()),
        latency,
        error: failure.map(|failure| failure.kind),
        status: failure.and_then(|failure| failure.status),
    }
}

fn reasons(evidence: &Evidence) -> Vec<Reason> {
    let Evidence { life, probe, signs, breaker, queue, .. } = evidence;
    let mut reasons = match *life {
        Life::Running => Vec::new(),
        Life::WorkerStopped => vec![Reason::WorkerStopped],
        Life::Disabled => return vec![Reason::Disabled],
        Life::ShutDown => return vec![Reason::ShutDown],
    };
    let is_news =
        |at: Option<Instant>| at.is_some_and(|at| evidence.now.saturating_duration_since(at) < NEWS);
    let mut add = |reason: Reason| {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    };
    let failures = [probe.and_then(|finding| finding.failure), signs.standing_error()];
    failures.into_iter().flatten().filter_map(|failure| Reason::of(failure.kind)).for_each(&mut add);
    if signs.over_quota {
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
        let fills_soon = spool.full_in.is_some_and(|time| time < SOON);
        if spool.state == SpoolState::Full || fills_soon || spool.bytes >= spool.capacity_bytes / 5 * 4 {
            add(Reason::SpoolFilling);
        }
    }
    if is_news(queue.last_burial) {
        add(Reason::RejectedEvents);
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
    use crate::config::Settings;
    use crate::delivery::{Queue, QueueFill, SpoolHealth};

    const SECOND: Duration = Duration::from_secs(1);

    /// Why a client is degraded that has nothing wrong but this.
    fn reasons_of(change: impl FnOnce(&mut Evidence)) -> Vec<Reason> {
        let mut evidence = Evidence {
            life: Life::Running,
            probe: None,
            signs: Signs::default(),
            breaker: BreakerHealth { state: CircuitState::Closed, retry_in: None },
            queue: Queue::new(Settings::default().limits, 1, None).snapshot(),
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
                    full_in: Some(SOON),
                };
                change(&mut spool);
                evidence.queue.spool = Some(spool);
            })
        };
        assert_eq!(of(|_| ()), []);
        assert_eq!(of(|spool| spool.bytes = 800), [Reason::SpoolFilling]);
        assert_eq!(of(|spool| spool.full_in = Some(SOON - SECOND)), [Reason::SpoolFilling]);
        assert_eq!(of(|spool| spool.state = SpoolState::Full), [Reason::SpoolFilling]);
        assert_eq!(of(|spool| spool.issue = Some(SpoolIssue::Damaged)), [Reason::SpoolDamaged]);
        let fails = |spool: &mut SpoolHealth| {
            (spool.state, spool.issue) = (SpoolState::Failing, Some(SpoolIssue::Io));
        };
        assert_eq!(of(fails), [Reason::SpoolFailing]);
    }

    #[test]
    fn a_loss_and_a_dead_letter_are_news_for_a_minute() {
        for (age, is_news) in [(NEWS - SECOND, true), (NEWS, false)] {
            let lost = reasons_of(|evidence| evidence.queue.last_loss = Some(evidence.now - age));
            assert_eq!(lost == [Reason::LosingEvents], is_news, "{lost:?}");
            let buried = reasons_of(|evidence| evidence.queue.last_burial = Some(evidence.now - age));
            assert_eq!(buried == [Reason::RejectedEvents], is_news, "{buried:?}");
        }
    }

    #[test]
    fn a_client_that_does_nothing_says_that_alone() {
        for (life, reason) in [
            (Life::Disabled, Reason::Disabled),
            (Life::ShutDown, Reason::ShutDown),
            (Life::WorkerStopped, Reason::WorkerStopped),
        ] {
            assert_eq!(reasons_of(|evidence| evidence.life = life), [reason]);
        }
        assert_eq!(reasons_of(|evidence| evidence.breaker.state = CircuitState::Open), [Reason::BreakerOpen]);
    }
}

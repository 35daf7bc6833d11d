//! Health names each trouble that the oracle knows of.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::simulation::bounds;
use crate::simulation::service::Service;
use crate::simulation::world::{Answered, State};
use crate::{HealthReport, Ledger, Reason};

#[derive(Debug, Default)]
pub struct Memory {
    last: Option<(Instant, Ledger)>,
    seen: BTreeSet<&'static str>,
}

impl Memory {
    pub fn look(&mut self, service: &Service, state: &mut State, report: &HealthReport) {
        let now = Instant::now();
        for reason in &report.reasons {
            if self.seen.insert(reason.code()) {
                state.note(format_args!("health of process {}: {}", service.number, reason.code()));
                state.coverage.count("health reason", reason.code());
            }
        }
        self.seen.retain(|code| report.reasons.iter().any(|reason| reason.code() == *code));
        self.posthog(service, state, report, now);
        self.ledger(state, report, now);
        let stopped = state.processes[service.number].tasks_ended;
        if let Some(since) = stopped.filter(|since| now - *since > Duration::from_secs(5))
            && !has(report, &[Reason::WorkerStopped, Reason::ShuttingDown, Reason::ShutDown])
        {
            let text = format!("the tasks ended {} s ago: {:?}", (now - since).as_secs(), report.reasons);
            state.violate("health names a runtime that has ended", text);
        }
        self.disk(service, state, report, now);
    }

    /// The latest answers were failures, and nothing was accepted for a while.
    fn posthog(&self, service: &Service, state: &mut State, report: &HealthReport, now: Instant) {
        let observed = &state.processes[service.number];
        // With a token that a probe has found refused, nothing is sent.
        if observed.is_closed || observed.tasks_ended.is_some() || observed.token_was_refused_last {
            return;
        }
        // Events that failed before say nothing about PostHog, and a bad one may hide its trouble.
        let since_success = observed
            .answers
            .iter()
            .rev()
            .take_while(|(_, answered)| matches!(answered, Answered::Failed { .. }));
        let failures: Option<Vec<_>> = since_success
            .map(|(at, answered)| match *answered {
                Answered::Failed { status, by_content: false, fresh } => Some((*at, status, fresh)),
                _ => None,
            })
            .collect();
        let Some(failures) = failures else { return };
        let fresh = || failures.iter().filter(|(.., fresh)| *fresh);
        let (Some(&(_, status, _)), Some(&(since, ..))) = (failures.first(), fresh().next_back()) else {
            return;
        };
        let is_one_trouble = failures.iter().all(|(_, other, _)| *other == status);
        if fresh().count() < 2 || !is_one_trouble || now - since < bounds::named(&state.config) {
            return;
        }
        let expected: &[Reason] = match status {
            0 => &[Reason::Unreachable, Reason::BreakerOpen],
            // A probe tells whose refusal it is: PostHog's, that of something on the way, or nobody knows.
            401 | 403 => &[Reason::Unauthorized, Reason::WrongHost, Reason::Unreachable, Reason::ServerError],
            402 => &[Reason::QuotaExceeded],
            429 => &[Reason::RateLimited],
            408 | 500.. => &[Reason::ServerError, Reason::BreakerOpen],
            400 | 413 => &[Reason::RejectedEvents],
            _ => &[Reason::WrongHost],
        };
        if !has(report, expected) {
            let text = format!(
                "{} × {status} since {} s: {:?}",
                failures.len(),
                (now - since).as_secs(),
                report.reasons
            );
            state.violate("health names PostHog's trouble", text);
        }
    }

    /// Losses and dead letters are news for a minute.
    fn ledger(&mut self, state: &mut State, report: &HealthReport, now: Instant) {
        let ledger = report.ledger;
        let last = self.last.replace((now, ledger)).filter(|(at, _)| now - *at < bounds::NEWS);
        // With a spool, the losses of earlier processes come in.
        let is_alone = state.config.spool.is_none() || state.processes.len() == 1;
        if let Some((_, before)) = last.filter(|_| is_alone) {
            if ledger.dropped.lost() > before.dropped.lost()
                && !has(
                    report,
                    &[Reason::LosingEvents, Reason::ShutDown, Reason::ShuttingDown, Reason::WorkerStopped],
                )
            {
                state.violate("health names a loss", format_args!("{ledger:?} after {before:?}"));
            }
            if ledger.dead_lettered > before.dead_lettered
                && state.config.spool.is_none()
                && !has(report, &[Reason::RejectedEvents, Reason::ShutDown, Reason::ShuttingDown])
            {
                state.violate("health names a dead letter", format_args!("{ledger:?} after {before:?}"));
            }
        }
    }

    fn disk(&self, service: &Service, state: &mut State, report: &HealthReport, now: Instant) {
        let Some(since) = state.incidents.disk_hangs_since() else { return };
        let since = state.processes[service.number].started.map_or(since, |started| since.max(started));
        // Ten seconds until the directory is searched again, and two until the disk is given up.
        if now - since < Duration::from_secs(20) || report.spool.is_none() {
            return;
        }
        if !has(report, &[Reason::SpoolFailing, Reason::ShuttingDown, Reason::ShutDown]) {
            let text = format!("it hangs since {} s: {:?}", (now - since).as_secs(), report.reasons);
            state.violate("health names the disk's trouble", text);
        }
    }
}

fn has(report: &HealthReport, any: &[Reason]) -> bool {
    report.reasons.iter().any(|reason| any.contains(reason))
}

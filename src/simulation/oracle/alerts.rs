//! No alert fires without a cause.

use std::time::Duration;

use tokio::time::Instant;

use crate::simulation::bounds;
use crate::simulation::service::Service;
use crate::simulation::world::{Answered, State};
use crate::{AlertName, Surface};

/// A minute, less the time by which a minute's counts may begin earlier.
const MINUTE: Duration = Duration::from_secs(55);

pub fn look(service: &Service, state: &mut State) {
    let now = Instant::now();
    let memory = bounds::alert_remembers(&state.config);
    for alert in service.client.alerts() {
        state.coverage.count("alert", alert.name.code());
        if alert.surface != Surface::Capture {
            state.violate("an alert is about what was used", format_args!("{alert:?}"));
            continue;
        }
        let observed = &state.processes[service.number];
        let answers = || {
            observed
                .answers
                .iter()
                .rev()
                .take_while(|(at, _)| now - *at < memory)
                .map(|(_, answered)| *answered)
        };
        let failed = |is: fn(u16) -> bool| {
            answers().any(
                |answered| matches!(answered, Answered::Failed { status, by_content: false, .. } if is(status)),
            )
        };
        // Then the attempt has failed, though its events never left.
        let check_timed_out = || observed.check_timed_out_at.is_some_and(|at| now - at < memory);
        let any_failed = || answers().any(|answered| matches!(answered, Answered::Failed { .. }));
        // A bad event is no cause, unless nothing was accepted for a minute.
        let is_quiet = || {
            let (mut accepted, mut fails) = (None, false);
            let is_long = |accepted: Option<Instant>, until: Instant| {
                now - until < memory && accepted.is_none_or(|accepted| until - accepted > MINUTE)
            };
            observed.answers.iter().any(|(at, answered)| match answered {
                Answered::Accepted => {
                    let was_quiet = std::mem::take(&mut fails) && is_long(accepted, *at);
                    accepted = Some(*at);
                    was_quiet
                }
                Answered::Failed { .. } => {
                    fails = true;
                    false
                }
                Answered::OverQuota | Answered::Nothing => false,
            }) || (fails && is_long(accepted, now))
        };
        let has_cause = match alert.name {
            AlertName::ApiDown => {
                // A breaker that opens after few failures leaves only the bad events to be tried.
                let opens_soon = state.config.settings().window <= 4 && any_failed();
                failed(|status| matches!(status, 0 | 200 | 401 | 403 | 404 | 408 | 500..))
                    || is_quiet()
                    || opens_soon
                    || check_timed_out()
            }
            AlertName::AuthFailures => failed(|status| status == 401) || observed.token_was_refused,
            AlertName::RateLimited => failed(|status| status == 429),
            AlertName::QuotaExceeded => {
                failed(|status| status == 402) || answers().any(|answered| answered == Answered::OverQuota)
            }
            AlertName::CircuitOpen => any_failed() || check_timed_out(),
            AlertName::HighLatency => state.incidents.posthog_was_slow(),
            AlertName::LosingEvents => service.client.stats().dropped.lost() > 0,
            AlertName::SpoolFilling => state.config.spool.is_some(),
            AlertName::Stalled => any_failed() || state.incidents.posthog_was_troubled(),
        };
        if !has_cause {
            state.violate("no alert fires without a cause", format_args!("{alert}"));
        }
    }
}

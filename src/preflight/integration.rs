//! How the parts are set, by themselves and against each other. Judgement only.

use std::time::Duration;

use super::check::{CheckId, Finding, Findings};
use super::configuration::count;
use crate::config::Reviewed;
use crate::layers::{CircuitBreakerConfig, RateLimitConfig, RetryConfig};
use crate::monitor::{AlertName, AlertsConfig};

/// What only the service's surroundings know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    pub(super) grace_period: Option<Duration>,
    pub(super) shutdown: Duration,
    /// Events per second.
    pub(super) event_rate: Option<f64>,
}

pub(super) fn judge(reviewed: &Reviewed, surroundings: Surroundings) -> Findings {
    vec![
        (CheckId::Breaker, breaker(&reviewed.circuit_breaker)),
        (CheckId::RateLimit, rate_limit(&reviewed.rate_limit)),
        (CheckId::Backoff, backoff(&reviewed.retry)),
        (CheckId::Timeouts, timeouts(&Times::of(reviewed, surroundings))),
        (CheckId::Queue, queue(&Room::of(reviewed), surroundings.event_rate)),
        (CheckId::Alerts, alerts(&reviewed.alerts)),
    ]
}

const LONGEST_OPEN: Duration = Duration::from_secs(60);

fn breaker(config: &CircuitBreakerConfig) -> Finding {
    let seen = format!(
        "opens when {:.0} % of the last {} calls failed, {} at least, for {:?} up to {:?}",
        config.failure_rate * 100.0,
        config.window,
        config.min_calls,
        config.open_time,
        config.longest_open_time,
    );
    if config.longest_open_time > LONGEST_OPEN {
        return Finding::warn(
            seen,
            "open_time: at most a minute, or a recovery goes unnoticed for long; 10 s is the default",
        );
    }
    if config.failure_rate > 0.9 {
        return Finding::warn(
            seen,
            "failure_rate: below 0.9, or one success among failures keeps it closed; 0.5 is the default",
        );
    }
    Finding::pass(seen)
}

fn rate_limit(config: &RateLimitConfig) -> Finding {
    let seen = format!(
        "{} requests/s, {} at once, pauses of {:?} to {:?} after a 429",
        config.rate, config.burst, config.pause, config.longest_pause
    );
    if config.rate > 1_000 || config.burst > 10_000 {
        return Finding::warn(seen, "rate_limit: this limits nothing; 50 requests/s carry 5,000 events/s");
    }
    Finding::pass(seen)
}

fn backoff(config: &RetryConfig) -> Finding {
    let seen = format!(
        "{}, {:?} to {:?} apart, with full jitter, {:.0} % of the traffic",
        count(config.attempts as usize, "attempt"),
        config.base,
        config.cap,
        config.share * 100.0
    );
    if config.base < Duration::from_millis(50) {
        return Finding::warn(seen, "retry.backoff: begin with 50 ms at least; 500 ms is the default");
    }
    if config.attempts > 10 || config.share > 1.0 {
        return Finding::warn(
            seen,
            "retry: fewer attempts and a smaller budget, or an outage is met with more traffic than a good day",
        );
    }
    Finding::pass(seen)
}

/// The times that must not contradict each other.
#[derive(Clone, Copy, Debug)]
struct Times {
    linger: Duration,
    request: Duration,
    probe: Duration,
    longest_retry_after: Duration,
    stalled: Option<Duration>,
    shutdown: Duration,
    grace: Option<Duration>,
}

impl Times {
    fn of(reviewed: &Reviewed, surroundings: Surroundings) -> Self {
        let alerts = &reviewed.alerts;
        Self {
            linger: reviewed.pacing.linger,
            request: reviewed.request_timeout,
            probe: reviewed.probe_timeout,
            longest_retry_after: reviewed.longest_retry_after,
            stalled: alerts.severity_of(AlertName::Stalled).map(|_| alerts.stalled_after),
            shutdown: surroundings.shutdown,
            grace: surroundings.grace_period,
        }
    }
}

/// Between the end of `shutdown` and the end of the process.
const TO_SPARE: Duration = Duration::from_secs(2);

fn timeouts(times: &Times) -> Finding {
    let &Times { linger, request, probe, longest_retry_after, stalled, shutdown, grace } = times;
    match grace {
        Some(grace) if shutdown > grace => {
            return Finding::fail(
                format!("shutdown takes up to {shutdown:?}, and the process is killed after {grace:?}"),
                "give shutdown() less time, or the orchestrator more (terminationGracePeriodSeconds)",
            );
        }
        Some(grace) if shutdown + TO_SPARE > grace => {
            return Finding::warn(
                format!(
                    "shutdown takes up to {shutdown:?} of {grace:?}: nothing is left for the requests under way"
                ),
                "leave 2 s at least: a shorter shutdown() or a longer grace period",
            );
        }
        _ => {}
    }
    if linger >= request {
        return Finding::warn(
            format!("events linger for {linger:?}, longer than a request may take ({request:?})"),
            "linger: 1 s is the default, and batches are full long before under load",
        );
    }
    if probe > request {
        return Finding::warn(
            format!("a health probe may take {probe:?}, longer than a request ({request:?})"),
            "probe_timeout: 2 s is the default, and readiness probes wait little longer",
        );
    }
    if let Some(stalled) = stalled.filter(|stalled| *stalled < longest_retry_after) {
        return Finding::warn(
            format!(
                "the alert Stalled fires after {stalled:?}, while a Retry-After of {longest_retry_after:?} is kept"
            ),
            "alerts.stalled: not below longest_retry_after",
        );
    }
    let seen = format!("linger {linger:?} < request {request:?}, probe {probe:?}, shutdown {shutdown:?}");
    Finding::pass(match grace {
        Some(grace) => format!("{seen} < grace period {grace:?}"),
        None => format!("{seen}; the grace period was not named"),
    })
}

/// Where events can wait, and how fast they leave.
#[derive(Clone, Copy, Debug)]
struct Room {
    events: f64,
    bytes: f64,
    spool_bytes: f64,
    events_per_second: f64,
}

/// An event of ordinary size.
const EVENT: f64 = 600.0;
/// What must fit into memory or on disk: an outage that is over before somebody has looked.
const SHORT_OUTAGE: f64 = 60.0;

impl Room {
    fn of(reviewed: &Reviewed) -> Self {
        let limits = &reviewed.limits;
        Self {
            events: limits.events as f64,
            bytes: limits.bytes as f64,
            spool_bytes: reviewed.spool.as_ref().map_or(0, |spool| spool.bytes()) as f64,
            events_per_second: f64::from(reviewed.rate_limit.rate) * limits.batch_events as f64,
        }
    }
}

fn queue(room: &Room, rate: Option<f64>) -> Finding {
    let Some(rate) = rate.filter(|rate| *rate > 0.0) else {
        return Finding::skipped("the event rate was not named (--event-rate)");
    };
    if rate > room.events_per_second {
        return Finding::fail(
            format!("{rate} events/s come, {:.0} can leave", room.events_per_second),
            "raise rate_limit or batch_events",
        );
    }
    let memory = room.events.min(room.bytes / EVENT) / rate;
    let disk = room.spool_bytes / EVENT / rate;
    let seen = format!("at {rate} events/s {memory:.0} s of an outage fit into memory, {disk:.0} s on disk");
    if memory + disk < SHORT_OUTAGE {
        return Finding::warn(
            seen,
            "raise queue_events and queue_bytes, or give the client a spool: a minute at least",
        );
    }
    Finding::pass(seen)
}

fn alerts(config: &AlertsConfig) -> Finding {
    let off: Vec<_> =
        AlertName::ALL.into_iter().filter(|alert| config.severity_of(*alert).is_none()).collect();
    if off.is_empty() {
        return Finding::pass(format!("all {} are on", AlertName::ALL.len()));
    }
    let names = off.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Finding::warn(format!("off: {names}"), "turn them on, or see that something else fires in their place")
}

/// What is seen of log lines in this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logs {
    has_subscriber: bool,
    shows_warnings: bool,
    shows_debug: bool,
}

impl Logs {
    /// For the caller's thread, which may have a subscriber of its own.
    pub(super) fn look() -> Self {
        Self {
            has_subscriber: tracing::dispatcher::has_been_set(),
            shows_warnings: tracing::enabled!(target: "posthog_health", tracing::Level::WARN),
            shows_debug: tracing::enabled!(target: "posthog_health", tracing::Level::DEBUG),
        }
    }
}

pub(super) fn logs(logs: Logs, is_release: bool) -> Finding {
    match logs {
        Logs { has_subscriber: false, .. } => Finding::warn(
            "nobody takes log lines: no tracing subscriber is installed",
            "install one before the client is built, tracing_subscriber::fmt().json() for instance",
        ),
        Logs { shows_warnings: false, .. } => Finding::warn(
            "the subscriber drops the warnings of posthog_health",
            "let posthog_health=info through its filter: it has a line an episode",
        ),
        Logs { shows_debug: true, .. } if is_release => Finding::warn(
            "debug lines are on in a release build: one for each attempt",
            "set the filter to posthog_health=info",
        ),
        _ => Finding::pass("a subscriber takes its warnings"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::CheckStatus::{Fail, Pass, Skipped, Warn};

    const S: fn(u64) -> Duration = Duration::from_secs;
    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_breaker_at_its_thresholds() {
        let longest = |open| breaker(&CircuitBreakerConfig::default().open_time(S(1), open)).status;
        assert_eq!([longest(S(60)), longest(MS(60_001))], [Pass, Warn]);
        let rate = |share| breaker(&CircuitBreakerConfig::default().failure_rate(share)).status;
        assert_eq!([rate(0.9), rate(0.91)], [Pass, Warn]);
    }

    #[test]
    fn limits_and_retries_at_their_thresholds() {
        let limit = |rate, burst| rate_limit(&RateLimitConfig::default().rate(rate).burst(burst)).status;
        assert_eq!([limit(1_000, 10_000), limit(1_001, 1), limit(1, 10_001)], [Pass, Warn, Warn]);
        let base = |base| backoff(&RetryConfig::default().backoff(base, S(30))).status;
        assert_eq!([base(MS(50)), base(MS(49))], [Pass, Warn]);
        let attempts = |n, share| backoff(&RetryConfig::default().attempts(n).budget(share)).status;
        assert_eq!([attempts(10, 1.0), attempts(11, 1.0), attempts(10, 1.1)], [Pass, Warn, Warn]);
    }

    #[test]
    fn times_against_each_other() {
        let good = Times {
            linger: S(1),
            request: S(10),
            probe: S(2),
            longest_retry_after: S(300),
            stalled: Some(S(300)),
            shutdown: S(5),
            grace: Some(S(7)),
        };
        let rows = [
            (good, Pass),
            (Times { grace: None, ..good }, Pass),
            (Times { grace: Some(MS(6_999)), ..good }, Warn),
            (Times { grace: Some(S(5)), ..good }, Warn),
            (Times { grace: Some(MS(4_999)), ..good }, Fail),
            (Times { linger: S(10), ..good }, Warn),
            (Times { linger: MS(9_999), ..good }, Pass),
            (Times { probe: S(10), ..good }, Pass),
            (Times { probe: S(11), ..good }, Warn),
            (Times { stalled: Some(S(299)), ..good }, Warn),
            (Times { stalled: None, ..good }, Pass),
        ];
        for (times, status) in rows {
            assert_eq!(timeouts(&times).status, status, "{times:?}");
        }
    }

    #[test]
    fn room_for_a_minute_and_a_way_out() {
        let room = Room { events: 6_000.0, bytes: 1e9, spool_bytes: 0.0, events_per_second: 5_000.0 };
        assert_eq!(queue(&room, None).status, Skipped);
        assert_eq!(queue(&room, Some(100.0)).status, Pass);
        assert_eq!(queue(&room, Some(101.0)).status, Warn);
        assert_eq!(queue(&Room { bytes: 600.0 * 5_999.0, ..room }, Some(100.0)).status, Warn);
        assert_eq!(queue(&Room { spool_bytes: 1e9, ..room }, Some(5_000.0)).status, Pass);
        assert_eq!(queue(&Room { spool_bytes: 1e9, ..room }, Some(5_001.0)).status, Fail);
    }

    #[test]
    fn an_alert_that_is_off_is_named() {
        assert_eq!(alerts(&AlertsConfig::default()).status, Pass);
        let off = alerts(&AlertsConfig::default().off(AlertName::ApiDown));
        assert_eq!((off.status, off.seen.as_str()), (Warn, "off: API Down"));
    }

    #[test]
    fn log_lines_that_nobody_takes() {
        let good = Logs { has_subscriber: true, shows_warnings: true, shows_debug: false };
        assert_eq!(logs(good, true).status, Pass);
        assert_eq!(logs(Logs { has_subscriber: false, ..good }, true).status, Warn);
        assert_eq!(logs(Logs { shows_warnings: false, ..good }, true).status, Warn);
        assert_eq!(logs(Logs { shows_debug: true, ..good }, true).status, Warn);
        assert_eq!(logs(Logs { shows_debug: true, ..good }, false).status, Pass);
    }
}

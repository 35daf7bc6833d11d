//! Whether the settings of the parts are sound. Judgement only.

use std::time::Duration;

use super::capacity;
use super::check::{CheckId, Finding, Findings, counted};
use super::timeouts;
use crate::config::Settings;
use crate::layers::{CircuitBreakerConfig, RateLimitConfig, RetryConfig};
use crate::monitor::{AlertName, AlertsConfig};

/// What only the deployment knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deployment {
    pub grace_period: Option<Duration>,
    pub shutdown: Duration,
    /// Events per second.
    pub event_rate: Option<f64>,
}

pub fn judge(settings: &Settings, deployment: Deployment) -> Findings {
    vec![
        (CheckId::Breaker, breaker(&settings.circuit_breaker)),
        (CheckId::RateLimit, rate_limit(&settings.rate_limit)),
        (CheckId::Backoff, backoff(&settings.retry)),
        (CheckId::Timeouts, timeouts::judge(settings, deployment)),
        (CheckId::Queue, capacity::judge(settings, deployment.event_rate)),
        (CheckId::Alerts, alerts(&settings.alerts)),
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
    Finding::pass(seen)
        .warn_if(
            config.longest_open_time > LONGEST_OPEN,
            "open_time: at most a minute, or a recovery goes unnoticed for long; 10 s is the default",
        )
        .warn_if(
            config.failure_rate > 0.9,
            "failure_rate: below 0.9, or one success among failures keeps it closed; 0.5 is the default",
        )
}

fn rate_limit(config: &RateLimitConfig) -> Finding {
    let seen = format!(
        "{} requests/s, {} at once, pauses of {:?} to {:?} after a 429",
        config.rate, config.burst, config.pause, config.longest_pause
    );
    Finding::pass(seen).warn_if(
        config.rate > 1_000 || config.burst > 10_000,
        "rate_limit: this limits nothing; 50 requests/s carry 5,000 events/s",
    )
}

fn backoff(config: &RetryConfig) -> Finding {
    let seen = format!(
        "{}, {:?} to {:?} apart, with full jitter, {:.0} % of the traffic",
        counted(config.attempts as usize, "attempt"),
        config.base,
        config.cap,
        config.share * 100.0
    );
    Finding::pass(seen)
        .warn_if(
            config.base < Duration::from_millis(50),
            "retry.backoff: begin with 50 ms at least; 500 ms is the default",
        )
        .warn_if(
            config.attempts > 10 || config.share > 1.0,
            "retry: fewer attempts and a smaller budget, or an outage is met with more traffic than a good day",
        )
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::CheckStatus::{Pass, Warn};

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
    fn an_alert_that_is_off_is_named() {
        assert_eq!(alerts(&AlertsConfig::default()).status, Pass);
        let off = alerts(&AlertsConfig::default().off(AlertName::ApiDown));
        assert_eq!((off.status, off.seen.as_str()), (Warn, "off: API Down"));
    }
}

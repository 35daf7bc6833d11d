use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::latencies::Latencies;
use super::summary::{Failure, Seen, Summary};
use crate::api::Accepted;
use crate::error::{AlertCause, Reason};
use crate::rt::ring::{LONGEST_WINDOW, Ring};
use crate::{Error, ErrorKind};

/// The attempts to reach one surface of PostHog: the latest success and error, counts and latencies of the last minutes,
/// and the streaks of failures since the last success.
#[derive(Debug)]
pub struct Traffic {
    slow_over: Duration,
    pub summary: Summary,
    counts: Ring<Counts>,
    latencies: Ring<Latencies>,
    streaks: [Option<Streak>; AlertCause::ALL.len()],
    /// The latest probe found the token refused. PostHog's capture endpoint accepts and discards the events of an unknown
    /// token, so a success there proves nothing meanwhile.
    token_refused: bool,
    /// An attempt found the token refused. A proxy may refuse the capture endpoint alone, so a good probe does not end
    /// that streak.
    refused_by_capture: bool,
    pub totals: Totals,
}

/// A streak of failures of one cause, unbroken by a success.
#[derive(Clone, Copy, Debug)]
pub struct Streak {
    pub since: Instant,
    pub length: u32,
}

/// Counts of attempts within a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub attempts: u64,
    failed: u64,
    causes: [u64; AlertCause::ALL.len()],
    /// Those that turned out to be the fault of an event.
    failed_by_events: u64,
    forgiven: [u64; AlertCause::ALL.len()],
}

/// Counts of attempts since the start.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "counted for the metrics alone"))]
pub struct Totals {
    pub delivered: u64,
    pub discarded: u64,
    pub failed: [u64; ErrorKind::ALL.len()],
    pub causes: [u64; AlertCause::ALL.len()],
}

impl Traffic {
    pub fn new(start: Instant, slow_over: Duration) -> Self {
        Self {
            slow_over,
            summary: Summary::default(),
            counts: Ring::new(start, Duration::from_secs(1), LONGEST_WINDOW),
            latencies: Ring::new(start, Duration::from_secs(10), LONGEST_WINDOW),
            streaks: Default::default(),
            token_refused: false,
            refused_by_capture: false,
            totals: Totals::default(),
        }
    }

    /// Records an attempt that has ended now.
    pub fn record(&mut self, now: Instant, latency: Duration, result: Result<&Accepted, &Error>) {
        let is_slow = latency > self.slow_over;
        if let Err(error) = result {
            let rejects_events = error.kind().meaning().reason == Some(Reason::RejectedEvents);
            self.summary.rejection = error.answer().filter(|_| rejects_events).map(Arc::from);
        }
        let result = result.copied().map_err(Failure::from);
        match result {
            Ok(accepted) => {
                self.summary.success = Some(Seen { at: now, latency, what: () });
                self.summary.over_quota = accepted.over_quota;
                *if accepted.over_quota { &mut self.totals.discarded } else { &mut self.totals.delivered } +=
                    1;
            }
            Err(what) => {
                self.summary.error = Some(Seen { at: now, latency, what });
                self.totals.failed[what.kind as usize] += 1;
            }
        }
        let cause = match result {
            Ok(accepted) => accepted.over_quota.then_some(AlertCause::QuotaExceeded),
            Err(failure) => failure.kind.meaning().alert,
        };
        let counts = self.counts.current(now);
        counts.attempts += 1;
        counts.failed += u64::from(result.is_err() || cause.is_some());
        self.latencies.current(now).record(latency);
        // What ends a streak depends on its cause: a refusal proves that PostHog is up, but not that it accepts the token.
        for ended in AlertCause::ALL {
            let ends = match ended {
                AlertCause::ApiDown | AlertCause::RateLimited => {
                    cause != Some(ended) && result.map_or_else(Failure::proves_service_up, |_| true)
                }
                AlertCause::AuthFailures => result.is_ok() && cause.is_none() && !self.token_refused,
                AlertCause::QuotaExceeded => result.is_ok() && cause.is_none(),
                AlertCause::HighLatency => result.is_ok() && !is_slow,
            };
            if ends {
                self.streaks[ended as usize] = None;
            }
        }
        self.refused_by_capture &= self.streaks[AlertCause::AuthFailures as usize].is_some();
        self.refused_by_capture |= cause == Some(AlertCause::AuthFailures);
        cause
            .into_iter()
            .chain(is_slow.then_some(AlertCause::HighLatency))
            .for_each(|cause| self.count(now, cause));
    }

    /// Failures of this kind that were recorded are taken for the fault of an event. They count no more, but only a success
    /// ends a streak.
    pub fn forgive(&mut self, now: Instant, kind: ErrorKind, failures: u64) {
        let counts = self.counts.current(now);
        counts.failed_by_events += failures;
        if let Some(cause) = kind.meaning().alert {
            counts.forgiven[cause as usize] += failures;
        }
    }

    /// Records what a health probe found out about the token.
    pub fn record_token(&mut self, now: Instant, refused: bool) {
        self.token_refused = refused;
        if refused {
            self.count(now, AlertCause::AuthFailures);
        } else if !self.refused_by_capture {
            self.streaks[AlertCause::AuthFailures as usize] = None;
        }
    }

    fn count(&mut self, now: Instant, cause: AlertCause) {
        self.counts.current(now).causes[cause as usize] += 1;
        self.totals.causes[cause as usize] += 1;
        let streak = self.streaks[cause as usize].get_or_insert(Streak { since: now, length: 0 });
        streak.length = streak.length.saturating_add(1);
    }

    pub fn within(&self, now: Instant, window: Duration) -> Counts {
        self.counts.within(now, window).fold(Counts::default(), Counts::plus)
    }

    /// Returns the latency that 99 % of the attempts within a window did not exceed, rounded up by one percent at most, or
    /// `None` without attempts.
    pub fn p99(&self, now: Instant, window: Duration) -> Option<Duration> {
        Latencies::p99(self.latencies.within(now, window))
    }

    pub fn streak(&self, cause: AlertCause) -> Option<Streak> {
        self.streaks[cause as usize]
    }
}

impl Counts {
    pub fn of(&self, cause: AlertCause) -> u64 {
        self.causes[cause as usize].saturating_sub(self.forgiven[cause as usize])
    }

    /// How many attempts say something about PostHog: all but those that failed because of an event.
    pub fn about_posthog(&self) -> u64 {
        self.attempts.saturating_sub(self.failed_by_events)
    }

    /// How many attempts failed, without those that failed because of an event.
    pub fn failed(&self) -> u64 {
        self.failed.saturating_sub(self.failed_by_events)
    }

    fn plus(mut self, other: &Self) -> Self {
        self.attempts += other.attempts;
        self.failed += other.failed;
        self.failed_by_events += other.failed_by_events;
        self.causes.iter_mut().zip(other.causes).for_each(|(count, other)| *count += other);
        self.forgiven.iter_mut().zip(other.forgiven).for_each(|(count, other)| *count += other);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_is_that_of_the_window_to_one_percent() {
        let start = Instant::now();
        let mut traffic = Traffic::new(start, Duration::from_secs(5));
        assert_eq!(traffic.p99(start, LONGEST_WINDOW), None);
        let ok = Ok(&Accepted { over_quota: false });
        let later = start + Duration::from_secs(120);
        (1..=1_000).for_each(|ms| traffic.record(start, Duration::from_millis(ms), ok));
        (0..100).for_each(|_| traffic.record(later, Duration::from_millis(7), ok));
        let within = |seconds| traffic.p99(later, Duration::from_secs(seconds)).unwrap().as_millis();
        assert_eq!(within(60), 7);
        assert!((990..=1_000).contains(&within(300)), "{}", within(300));
    }

    #[test]
    fn a_latency_beyond_all_bounds_is_an_hour() {
        let start = Instant::now();
        let mut traffic = Traffic::new(start, Duration::from_secs(5));
        traffic.record(start, Duration::MAX, Err(&Error::new(ErrorKind::Timeout)));
        let p99 = traffic.p99(start, LONGEST_WINDOW).unwrap().as_secs();
        assert!((3_600..=3_636).contains(&p99), "{p99}");
    }
}

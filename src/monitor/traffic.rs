use std::time::Duration;

use tokio::time::Instant;

use super::LONGEST_WINDOW;
use super::cause::Cause;
use super::latencies::Latencies;
use super::ring::Ring;
use super::signs::{Failure, Seen, Signs};
use crate::api::Accepted;
use crate::{Error, ErrorKind};

/// What the attempts to reach one surface of PostHog show: the latest success and error, counts and latencies
/// of the last minutes, and what has gone wrong since the last success.
#[derive(Debug)]
pub(super) struct Traffic {
    slow_over: Duration,
    signs: Signs,
    counts: Ring<Counts>,
    latencies: Ring<Latencies>,
    streaks: [Option<Streak>; Cause::ALL.len()],
    /// What the latest probe found: capture takes the events of an unknown token and throws them away, so its
    /// success says nothing then.
    token_refused: bool,
    /// An attempt found it refused: then a good probe is no success of an attempt.
    refused_by_capture: bool,
    totals: Totals,
}

/// What went wrong since the last success.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streak {
    pub(super) since: Instant,
    pub(super) length: u32,
}

/// Attempts within a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) attempts: u64,
    pub(super) failed: u64,
    causes: [u64; Cause::ALL.len()],
}

/// Attempts since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) delivered: u64,
    pub(super) discarded: u64,
    pub(super) failed: [u64; ErrorKind::ALL.len()],
    pub(super) causes: [u64; Cause::ALL.len()],
}

impl Traffic {
    pub(super) fn new(start: Instant, slow_over: Duration) -> Self {
        Self {
            slow_over,
            signs: Signs::default(),
            counts: Ring::new(start, Duration::from_secs(1), LONGEST_WINDOW),
            latencies: Ring::new(start, Duration::from_secs(10), LONGEST_WINDOW),
            streaks: Default::default(),
            token_refused: false,
            refused_by_capture: false,
            totals: Totals::default(),
        }
    }

    /// Takes an attempt into account that ended now.
    pub(super) fn record(&mut self, now: Instant, latency: Duration, result: Result<&Accepted, &Error>) {
        let is_slow = latency > self.slow_over;
        let result = result.copied().map_err(Failure::from);
        match result {
            Ok(accepted) => {
                self.signs.success = Some(Seen { at: now, latency, what: () });
                self.signs.over_quota = accepted.over_quota;
                *if accepted.over_quota { &mut self.totals.discarded } else { &mut self.totals.delivered } +=
                    1;
            }
            Err(what) => {
                self.signs.error = Some(Seen { at: now, latency, what });
                self.totals.failed[what.kind as usize] += 1;
            }
        }
        let cause = match result {
            Ok(accepted) => accepted.over_quota.then_some(Cause::Quota),
            Err(failure) => Cause::of(failure.kind),
        };
        let counts = self.counts.now(now);
        counts.attempts += 1;
        counts.failed += u64::from(result.is_err() || cause.is_some());
        self.latencies.now(now).record(latency);
        for ended in Cause::ALL {
            let ends = match ended {
                Cause::Unavailable | Cause::Throttled => {
                    cause != Some(ended) && result.map_or_else(Failure::shows_life, |_| true)
                }
                Cause::Unauthorized => result.is_ok() && cause.is_none() && !self.token_refused,
                Cause::Quota => result.is_ok() && cause.is_none(),
                Cause::Slow => result.is_ok() && !is_slow,
            };
            if ends {
                self.streaks[ended as usize] = None;
            }
        }
        self.refused_by_capture &= self.streaks[Cause::Unauthorized as usize].is_some();
        self.refused_by_capture |= cause == Some(Cause::Unauthorized);
        cause.into_iter().chain(is_slow.then_some(Cause::Slow)).for_each(|cause| self.count(now, cause));
    }

    /// Takes into account that the token was found refused, or accepted, otherwise than by an attempt.
    pub(super) fn record_token(&mut self, now: Instant, refused: bool) {
        self.token_refused = refused;
        if refused {
            self.count(now, Cause::Unauthorized);
        } else if !self.refused_by_capture {
            self.streaks[Cause::Unauthorized as usize] = None;
        }
    }

    fn count(&mut self, now: Instant, cause: Cause) {
        self.counts.now(now).causes[cause as usize] += 1;
        self.totals.causes[cause as usize] += 1;
        let streak = self.streaks[cause as usize].get_or_insert(Streak { since: now, length: 0 });
        streak.length = streak.length.saturating_add(1);
    }

    pub(super) fn signs(&self) -> Signs {
        self.signs
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    pub(super) fn within(&self, now: Instant, window: Duration) -> Counts {
        self.counts.within(now, window).fold(Counts::default(), Counts::plus)
    }

    /// The latency that 99 % of the attempts within a window did not exceed, rounded up by one percent at most.
    /// `None` without attempts.
    pub(super) fn p99(&self, now: Instant, window: Duration) -> Option<Duration> {
        Latencies::p99(self.latencies.within(now, window))
    }

    pub(super) fn streak(&self, cause: Cause) -> Option<Streak> {
        self.streaks[cause as usize]
    }
}

impl Counts {
    pub(super) fn of(&self, cause: Cause) -> u64 {
        self.causes[cause as usize]
    }

    fn plus(mut self, other: &Self) -> Self {
        self.attempts += other.attempts;
        self.failed += other.failed;
        self.causes.iter_mut().zip(other.causes).for_each(|(count, other)| *count += other);
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

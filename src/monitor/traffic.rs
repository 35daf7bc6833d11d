use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::LONGEST_WINDOW;
use super::ring::Ring;
use crate::outcome::Accepted;
use crate::{Error, ErrorKind};

/// What the attempts to reach one surface of PostHog show: the latest success and error, counts and latencies
/// of the last minutes, and what has gone wrong since the last success.
#[derive(Debug)]
pub(crate) struct Traffic {
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

/// What the traffic shows at a glance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Signs {
    pub(crate) success: Option<Seen<()>>,
    pub(crate) error: Option<Seen<Failure>>,
    /// The latest 2xx said that the project is over its quota.
    pub(crate) over_quota: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<T> {
    pub(crate) at: Instant,
    pub(crate) latency: Duration,
    pub(crate) what: T,
}

/// An error without its cause: what can be shown to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) status: Option<u16>,
}

/// What alerts count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// PostHog is in trouble, does not answer, or something else answers.
    Unavailable,
    /// 429.
    Throttled,
    /// 401, 403.
    Unauthorized,
    /// 402, or a 2xx that says so.
    Quota,
    /// It took too long, whatever came of it.
    Slow,
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
pub(crate) struct Totals {
    pub(crate) delivered: u64,
    pub(crate) discarded: u64,
    pub(crate) failed: [u64; ErrorKind::ALL.len()],
    pub(crate) causes: [u64; Cause::ALL.len()],
}

/// In milliseconds, to one percent.
#[derive(Debug, Default)]
struct Latencies(Option<Histogram<u32>>);

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
                Cause::Unavailable | Cause::Throttled => cause != Some(ended) && is_alive(result),
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
        let mut all: Histogram<u32> = Latencies::empty()?;
        for Latencies(slot) in self.latencies.within(now, window) {
            slot.as_ref().map_or(Ok(()), |slot| all.add(slot)).ok()?;
        }
        (!all.is_empty()).then(|| Duration::from_millis(all.value_at_quantile(0.99)))
    }

    pub(super) fn streak(&self, cause: Cause) -> Option<Streak> {
        self.streaks[cause as usize]
    }
}

/// Whether the answer shows that PostHog is there and has time for us, as the breaker and the limiter see it.
fn is_alive(result: Result<Accepted, Failure>) -> bool {
    use ErrorKind::*;
    result.map_or_else(
        |failure| match failure.kind {
            BadRequest | Unauthorized | Forbidden | QuotaExceeded => true,
            // Without a status it is a broken connection.
            TooLarge => failure.status.is_some(),
            _ => false,
        },
        |_| true,
    )
}

impl Cause {
    pub(crate) const ALL: [Self; 5] =
        [Self::Unavailable, Self::Throttled, Self::Unauthorized, Self::Quota, Self::Slow];

    /// `None` for a batch that was rejected, which says nothing against PostHog.
    pub(super) fn of(kind: ErrorKind) -> Option<Self> {
        use ErrorKind::*;
        match kind {
            Connect | Dns | Tls | Timeout | ConnectionLost | AnswerCutShort | Server | WrongHost => {
                Some(Self::Unavailable)
            }
            RateLimited => Some(Self::Throttled),
            Unauthorized | Forbidden => Some(Self::Unauthorized),
            QuotaExceeded => Some(Self::Quota),
            BadRequest | TooLarge | CircuitOpen => None,
        }
    }
}

impl Cause {
    /// As it stands in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Throttled => "throttled",
            Self::Unauthorized => "unauthorized",
            Self::Quota => "quota",
            Self::Slow => "slow",
        }
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

impl Latencies {
    fn empty() -> Option<Histogram<u32>> {
        Histogram::new(2).ok()
    }

    fn record(&mut self, latency: Duration) {
        if self.0.is_none() {
            self.0 = Self::empty();
        }
        let ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        if let Some(histogram) = &mut self.0 {
            // It grows to a value, and what no attempt can last is cut.
            let _ = histogram.record(ms.min(HOUR_MS));
        }
    }
}

/// The longest request timeout.
const HOUR_MS: u64 = 3_600_000;

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind(), status: error.status() }
    }
}

impl Signs {
    /// What is wrong now: the latest error, unless a success came after it.
    pub(crate) fn standing_error(&self) -> Option<Failure> {
        let error = self.error?;
        let recovered = self.success.is_some_and(|success| success.at > error.at);
        (!recovered).then_some(error.what)
    }

    /// How long the latest attempt took.
    pub(crate) fn latency(&self) -> Option<Duration> {
        let success = self.success.map(|seen| (seen.at, seen.latency));
        let error = self.error.map(|seen| (seen.at, seen.latency));
        success.max(error).map(|(_, latency)| latency)
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

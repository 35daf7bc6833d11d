use std::ops::Add;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// The tokens and the pause, shared by all clones of a layer.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Tick>>,
    throttle: Mutex<Throttle>,
    pause: Duration,
    longest_pause: Duration,
}

#[derive(Debug, Default)]
struct Throttle {
    until: Option<Instant>,
    /// 429s in a row, those that arrive within a pause counted as one.
    streak: u32,
}

impl Bucket {
    pub(super) fn new(quota: Quota, pause: Duration, longest_pause: Duration) -> Self {
        let tokens = RateLimiter::direct_with_clock(quota, TokioClock);
        Self { tokens, throttle: Mutex::default(), pause, longest_pause }
    }

    /// Takes a token, or says how long to wait before asking again.
    pub(super) fn take(&self) -> Result<(), Duration> {
        if let Some(paused) = self.paused_for() {
            return Err(paused);
        }
        self.tokens.check().map_err(|not_until| not_until.wait_time_from(TokioClock.now()))
    }

    pub(super) fn throttled(&self, hint: Option<Duration>) {
        let now = Instant::now();
        let mut throttle = self.throttle();
        let in_pause = throttle.until.is_some_and(|until| now < until);
        if !in_pause {
            throttle.streak = throttle.streak.saturating_add(1);
        }
        let doublings = throttle.streak.saturating_sub(1).min(31);
        let grown = self.pause.saturating_mul(1 << doublings).min(self.longest_pause);
        let until = now.checked_add(hint.unwrap_or_default().max(grown)).unwrap_or(now + self.longest_pause);
        if throttle.until.is_none_or(|current| current < until) {
            throttle.until = Some(until);
        }
        drop(throttle);
        if !in_pause {
            tracing::info!(pause = ?until - now, "rate limited: pausing");
        }
    }

    pub(super) fn succeeded(&self) {
        let mut throttle = self.throttle();
        if throttle.until.is_none_or(|until| until <= Instant::now()) {
            *throttle = Throttle::default();
        }
    }

    fn paused_for(&self) -> Option<Duration> {
        let until = self.throttle().until?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn throttle(&self) -> std::sync::MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// governor on tokio's clock, so that a test under a paused clock steers it.
#[derive(Clone, Copy, Debug)]
struct TokioClock;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tick(Instant);

impl Clock for TokioClock {
    type Instant = Tick;

    fn now(&self) -> Tick {
        Tick(Instant::now())
    }
}

impl Reference for Tick {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.checked_sub(duration.into()).unwrap_or(self.0))
    }
}

impl Add<Nanos> for Tick {
    type Output = Self;

    fn add(self, other: Nanos) -> Self {
        Self(self.0 + Duration::from(other))
    }
}

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering};
use super::token::Token;
use crate::layers::Verdict;
use crate::rt::Episode;
use crate::rt::target;

/// The tokens and the pause, shared by all clones of a layer.
#[derive(Debug)]
pub struct Bucket {
    tokens: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<std::time::Instant>>,
    /// Whether there is an episode. Calls read it instead of taking the lock, and it is written while the lock is held.
    is_throttled: AtomicBool,
    throttle: Mutex<Throttle>,
    first_pause: Duration,
    longest_pause: Duration,
    /// Notified when a scout returns.
    pub scout_back: Arc<Notify>,
    waits: AtomicU64,
    waited_ns: AtomicU64,
}

/// An episode in which the service asks for less. It lasts from the first 429 to the next call that the service answers.
#[derive(Debug, Default)]
struct Throttle {
    /// The end of the latest pause. `None` outside an episode.
    until: Option<Instant>,
    /// 429s in a row. Those that arrive within one pause count as one.
    streak: u32,
    /// The scout is in flight: the call that finds out whether the episode is over.
    scouting: bool,
    /// Limits log lines.
    episode: Episode,
}

/// What a call without a token has to wait for.
#[derive(Debug)]
pub enum Wait {
    For(Duration),
    ForScout,
}

impl Bucket {
    pub fn new(quota: Quota, first_pause: Duration, longest_pause: Duration) -> Self {
        Self {
            tokens: RateLimiter::direct_with_clock(quota, TokioClock),
            is_throttled: AtomicBool::new(false),
            throttle: Mutex::default(),
            first_pause,
            longest_pause,
            scout_back: Arc::default(),
            waits: AtomicU64::new(0),
            waited_ns: AtomicU64::new(0),
        }
    }

    /// Takes a token, or returns what to wait for before asking again.
    #[inline]
    pub fn take(self: &Arc<Self>) -> Result<Token, Wait> {
        let is_scout =
            if self.is_paused() { self.take_throttled()? } else { self.take_one().map(|()| false)? };
        Ok(Token { bucket: Arc::clone(self), is_scout })
    }

    #[inline]
    fn take_one(&self) -> Result<(), Wait> {
        self.tokens.check().map_err(|until| Wait::For(until.wait_time_from(TokioClock.now())))
    }

    /// Takes a token in an episode. Returns true if this call is the scout.
    #[cold]
    fn take_throttled(&self) -> Result<bool, Wait> {
        let mut throttle = self.throttle();
        if let Some(until) = throttle.until {
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return Err(Wait::For(left));
            }
            if throttle.scouting {
                return Err(Wait::ForScout);
            }
        }
        self.take_one()?;
        throttle.scouting = throttle.until.is_some();
        Ok(throttle.scouting)
    }

    /// Learns from a call's result.
    #[inline]
    pub fn settle(&self, verdict: Verdict) {
        match verdict {
            Verdict::Throttled { retry_after } => self.pause(retry_after, true),
            Verdict::Failed { retry_after: Some(hint) } => self.pause(Some(hint), false),
            // A service that refuses a request has time for it.
            Verdict::Success | Verdict::Refused if self.is_paused() => self.resume(),
            Verdict::Success | Verdict::Refused => {}
            Verdict::Failed { retry_after: None } | Verdict::NotAttempted => {}
        }
    }

    pub fn scout_is_back(&self) {
        self.throttle().scouting = false;
        self.scout_back.notify_waiters();
    }

    /// Counts a call that had to wait for its token.
    pub fn count_wait(&self, time: Duration) {
        self.waits.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.waited_ns.fetch_add(nanos, Ordering::Relaxed);
    }

    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited_ns.load(Ordering::Relaxed))
    }

    #[inline]
    pub fn is_paused(&self) -> bool {
        self.is_throttled.load(Ordering::Acquire)
    }

    fn pause(&self, hint: Option<Duration>, grows: bool) {
        let now = Instant::now();
        let mut throttle = self.throttle();
        let in_pause = throttle.until.is_some_and(|until| now < until);
        let begins = throttle.episode.begins(now.into_std()) && throttle.until.is_none();
        let mut pause = hint.unwrap_or_default();
        if grows {
            throttle.streak = throttle.streak.saturating_add(u32::from(!in_pause));
            let doublings = throttle.streak.saturating_sub(1).min(31);
            pause = pause.max(self.first_pause.saturating_mul(1 << doublings).min(self.longest_pause));
        }
        let until = now.checked_add(pause).unwrap_or(now + FOREVER);
        throttle.until = throttle.until.max(Some(until));
        self.is_throttled.store(true, Ordering::Release);
        drop(throttle);
        if begins {
            tracing::info!(target: target::LAYERS, ?pause, "asked to slow down: pausing");
        } else {
            tracing::debug!(target: target::LAYERS, ?pause, "asked to slow down again");
        }
    }

    #[cold]
    fn resume(&self) {
        let mut throttle = self.throttle();
        if throttle.until.is_some_and(|until| until <= Instant::now()) {
            throttle.until = None;
            throttle.streak = 0;
            self.is_throttled.store(false, Ordering::Release);
        }
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Longer than any process lives, and short enough for the clock to represent.
const FOREVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// Runs governor on tokio's clock, so that a paused clock steers it in tests.
#[derive(Clone, Copy, Debug)]
struct TokioClock;

impl Clock for TokioClock {
    type Instant = std::time::Instant;

    fn now(&self) -> Self::Instant {
        Instant::now().into_std()
    }
}

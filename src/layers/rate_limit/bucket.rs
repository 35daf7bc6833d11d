use std::cell::Cell;
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::RateLimitExceeded;
use super::queue::Waiters;
use super::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering};
use super::token::Token;
use crate::layers::Verdict;
use crate::rt::{Episode, clock, target};

/// The tokens, the pause and the waiters, shared by all clones of a layer.
#[derive(Debug)]
pub struct Bucket {
    tokens: RateLimiter<NotKeyed, InMemoryState, BucketClock, NoOpMiddleware<Instant>>,
    /// The time between two tokens.
    period: Duration,
    /// Whether somebody waits or the service has asked for less. Calls read it instead of taking the lock, and it is written
    /// while the lock is held.
    is_busy: AtomicBool,
    state: Mutex<State>,
    first_pause: Duration,
    longest_pause: Duration,
    waits: AtomicU64,
    waited_ns: AtomicU64,
    rejected: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    waiters: Waiters,
    /// When the next token is there, as far as is known. Before that nobody need ask.
    next_token: Option<Instant>,
    throttle: Throttle,
}

/// An episode in which the service asks for less. It lasts from the first 429 to the next call that the service answers.
#[derive(Debug, Default)]
struct Throttle {
    /// The end of the latest pause. `None` outside an episode.
    until: Option<Instant>,
    /// 429s in a row. Those that arrive within one pause count as one.
    streak: u32,
    /// When the scout got its token: the call that finds out whether the episode is over.
    scout: Option<Instant>,
    /// Limits log lines.
    episode: Episode,
}

/// How long the others wait for a scout. It is the timeout of a request by default, which should end it first.
const LONGEST_SCOUT: Duration = Duration::from_secs(10);

/// How late a token may be taken as of its own moment. A busy machine wakes a task tens of milliseconds late.
const LATE: Duration = Duration::from_millis(50);

/// A call has no token yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoToken {
    /// When its token is there, unless calls before it leave.
    pub at: Instant,
    /// When to ask again: then, or when the scout has been away for too long.
    pub due: Instant,
}

impl From<NoToken> for RateLimitExceeded {
    fn from(NoToken { at, .. }: NoToken) -> Self {
        Self { retry_in: at.saturating_duration_since(now()) }
    }
}

impl Bucket {
    pub fn new(quota: Quota, first_pause: Duration, longest_pause: Duration) -> Self {
        Self {
            tokens: RateLimiter::direct_with_clock(quota, BucketClock),
            period: quota.replenish_interval(),
            is_busy: AtomicBool::new(false),
            state: Mutex::default(),
            first_pause,
            longest_pause,
            waits: AtomicU64::new(0),
            waited_ns: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        }
    }

    /// Takes a token, unless somebody waits for it or it is not there.
    #[inline]
    pub fn take(self: &Arc<Self>) -> Result<Token, NoToken> {
        if !self.is_busy() && self.tokens.check().is_ok() {
            return Ok(self.token(None));
        }
        self.turn(&mut None, None)
    }

    /// Takes a token if it is this ticket's turn, or else waits in line if there is a waker.
    #[cold]
    pub fn turn(self: &Arc<Self>, ticket: &mut Option<u64>, waker: Option<&Waker>) -> Result<Token, NoToken> {
        let mut state = self.state();
        let now = now();
        let State { waiters, next_token, throttle } = &mut *state;
        if throttle.due(now) <= now && waiters.is_turn(*ticket, now) {
            match self.check(*next_token, now) {
                Ok(at) => {
                    let scout = throttle.begins_scouting(now);
                    let gone = ticket.take().and_then(|ticket| waiters.leave(ticket));
                    *next_token = Some(at + self.period);
                    let next = state.next(now, self.period);
                    self.publish(state, next);
                    drop(gone);
                    return Ok(self.token(scout));
                }
                Err(until) => *next_token = Some(until),
            }
        }
        let line = self.period.saturating_mul(waiters.before(*ticket));
        let next_token = next_token.unwrap_or(now);
        let at =
            throttle.until.unwrap_or(now).max(next_token).checked_add(line).unwrap_or(now + clock::FOREVER);
        let due = throttle.due(now).max(next_token).checked_add(line).unwrap_or(now + clock::FOREVER);
        if let Some(waker) = waker {
            let (own, old) = waiters.wait(*ticket, due, waker);
            *ticket = Some(own);
            // A waiter that missed its moment may have made room.
            let next = state.next(now, self.period);
            self.publish(state, next);
            drop(old);
        }
        Err(NoToken { at, due })
    }

    /// Asks the bucket as of the moment when the token was there, so that a late timer costs no rate.
    fn check(&self, next_token: Option<Instant>, now: Instant) -> Result<Instant, Instant> {
        let at = next_token.map_or(now, |at| at.clamp(now.checked_sub(LATE).unwrap_or(now), now));
        ASKED_AT.set(Some(at));
        let checked = self.tokens.check();
        ASKED_AT.set(None);
        checked.map(|()| at).map_err(|until| until.earliest_possible())
    }

    /// A waiter leaves without a token.
    pub fn leave(&self, ticket: u64) {
        let mut state = self.state();
        let gone = state.waiters.leave(ticket);
        let next = state.next(now(), self.period);
        self.publish(state, next);
        drop(gone);
    }

    fn token(self: &Arc<Self>, scout: Option<Instant>) -> Token {
        Token { bucket: Arc::clone(self), scout, good_until: None }
    }

    /// Learns from a call's result.
    #[inline]
    pub fn settle(&self, verdict: Verdict) {
        match verdict {
            Verdict::Throttled { retry_after } => self.pause(retry_after, true),
            Verdict::Failed { retry_after: Some(hint) } => self.pause(Some(hint), false),
            // A service that refuses a request has time for it.
            Verdict::Success | Verdict::Refused if self.is_busy() => self.resume(),
            Verdict::Success | Verdict::Refused => {}
            Verdict::Failed { retry_after: None } | Verdict::NotAttempted => {}
        }
    }

    pub fn scout_is_back(&self, since: Instant) {
        let mut state = self.state();
        // Another one may have followed it.
        state.throttle.scout.take_if(|scout| *scout == since);
        let next = state.next(now(), self.period);
        self.publish(state, next);
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

    pub fn count_rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    #[inline]
    fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Acquire)
    }

    pub fn is_paused(&self) -> bool {
        self.is_busy() && self.state().throttle.until.is_some()
    }

    fn pause(&self, hint: Option<Duration>, grows: bool) {
        let now = now();
        let mut state = self.state();
        let (begins, pause) = state.throttle.pause(now, hint, grows, self.first_pause, self.longest_pause);
        self.publish(state, [None, None]);
        if begins {
            tracing::info!(target: target::LAYERS, ?pause, "asked to slow down: pausing");
        } else {
            tracing::debug!(target: target::LAYERS, ?pause, "asked to slow down again");
        }
    }

    #[cold]
    fn resume(&self) {
        let now = now();
        let mut state = self.state();
        if state.throttle.until.is_some_and(|until| until <= now) {
            state.throttle.until = None;
            state.throttle.streak = 0;
            let next = state.next(now, self.period);
            self.publish(state, next);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes what others read without the lock, and wakes after it.
    fn publish(&self, mut state: MutexGuard<'_, State>, next: [Option<Waker>; 2]) {
        let anybody_waits = state.waiters.anybody_waits();
        if !anybody_waits {
            state.next_token = None;
        }
        let is_busy = anybody_waits || state.throttle.until.is_some();
        self.is_busy.store(is_busy, Ordering::Release);
        drop(state);
        next.into_iter().flatten().for_each(Waker::wake);
    }
}

impl State {
    /// Returns the wakers of the first waiters if their tokens are there before their timers.
    fn next(&mut self, now: Instant, period: Duration) -> [Option<Waker>; 2] {
        let at = self.throttle.due(now).max(self.next_token.unwrap_or(now));
        self.waiters.hurry(at, period)
    }
}

impl Throttle {
    /// When the pause ends and the scout is back, or now.
    fn due(&self, now: Instant) -> Instant {
        let Some(until) = self.until else { return now };
        let scout = self.scout.map_or(now, |since| since + LONGEST_SCOUT);
        until.max(scout).max(now)
    }

    /// Returns since when the call that has a token now is the scout, if it is.
    fn begins_scouting(&mut self, now: Instant) -> Option<Instant> {
        self.scout = self.until.map(|_| now);
        self.scout
    }

    /// Returns whether an episode begins, and how long to pause.
    fn pause(
        &mut self,
        now: Instant,
        hint: Option<Duration>,
        grows: bool,
        first: Duration,
        longest: Duration,
    ) -> (bool, Duration) {
        let in_pause = self.until.is_some_and(|until| now < until);
        let begins = self.episode.begins(now) && self.until.is_none();
        let mut pause = hint.unwrap_or_default();
        if grows {
            self.streak = self.streak.saturating_add(u32::from(!in_pause));
            let doublings = self.streak.saturating_sub(1).min(31);
            pause = pause.max(first.saturating_mul(1 << doublings).min(longest));
        }
        self.until = self.until.max(Some(now.checked_add(pause).unwrap_or(now + clock::FOREVER)));
        (begins, pause)
    }
}

/// Returns the time by tokio's clock, so that a paused one steers the bucket in tests.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

thread_local! {
    /// The moment that the bucket is asked as of, if it is not the present one.
    static ASKED_AT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Runs governor on tokio's clock.
#[derive(Clone, Copy, Debug)]
struct BucketClock;

impl Clock for BucketClock {
    type Instant = Instant;

    #[inline]
    fn now(&self) -> Instant {
        ASKED_AT.get().unwrap_or_else(now)
    }
}

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use failsafe::{FailurePolicy, Instrument, clock};

use super::window::{Call, Window};
use super::{CircuitBreakerConfig, State};

/// What failsafe's machine does not carry between us and our own policy: the call that it is being told
/// of, the server's hint, and what it decided. Only touched while the breaker's lock is held.
#[derive(Clone, Debug, Default)]
pub(super) struct Exchange(Arc<Mutex<Note>>);

#[derive(Debug, Default)]
pub(super) struct Note {
    pub(super) call: Option<Call>,
    /// The latest moment that a failure's `Retry-After` pointed to.
    pub(super) not_before: Option<Instant>,
    pub(super) open_until: Option<Instant>,
    pub(super) entered: Option<State>,
}

impl Exchange {
    pub(super) fn note(&self) -> MutexGuard<'_, Note> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens on the window's rates, for longer each time until a recovery.
pub(super) struct Policy {
    config: CircuitBreakerConfig,
    window: Window,
    openings: u32,
    exchange: Exchange,
}

impl Policy {
    pub(super) fn new(config: CircuitBreakerConfig, exchange: Exchange) -> Self {
        let window = Window::new(config.window);
        Self { config, window, openings: 0, exchange }
    }

    fn must_open(&self) -> bool {
        let slow = self.config.slow_calls.is_some_and(|(_, share)| self.window.slow_rate() >= share);
        let failing = self.window.failure_rate() >= self.config.failure_rate;
        self.window.len() >= self.config.min_calls as usize && (failing || slow)
    }
}

impl FailurePolicy for Policy {
    fn record_success(&mut self) {
        self.window.record(Call { failed: false, slow: false });
    }

    /// Told of slow successes too, since only here can the machine be opened.
    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        let mut note = self.exchange.note();
        let probe_failed = self.openings > 0;
        if let Some(call) = note.call.take() {
            self.window.record(call);
        }
        if !probe_failed && !self.must_open() {
            return None;
        }
        let now = clock::now();
        let hinted = note.not_before.take().map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let time = open_time(&self.config, self.openings, fastrand::f64()).max(hinted);
        note.open_until = now.checked_add(time);
        self.openings += 1;
        Some(time)
    }

    fn revived(&mut self) {
        self.window.clear();
        self.openings = 0;
        self.exchange.note().not_before = None;
    }
}

/// Doubles with each opening, capped, shortened by up to a fifth. `random` is from `[0, 1)`.
fn open_time(config: &CircuitBreakerConfig, openings: u32, random: f64) -> Duration {
    let full = config.open_time.saturating_mul(1 << openings.min(31)).min(config.longest_open_time);
    full.mul_f64(1.0 - 0.2 * random)
}

/// Notes the machine's state changes; the breaker publishes them.
impl Instrument for Exchange {
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        self.note().entered = Some(State::Open);
    }

    fn on_half_open(&self) {
        self.note().entered = Some(State::HalfOpen);
    }

    fn on_closed(&self) {
        self.note().entered = Some(State::Closed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn open_time_doubles_from_one_second_to_ten() {
        let config = CircuitBreakerConfig::default();
        let secs: Vec<_> = (0..6).map(|n| open_time(&config, n, 0.0).as_secs()).collect();
        assert_eq!(secs, [1, 2, 4, 8, 10, 10]);
    }

    proptest! {
        #[test]
        fn jitter_takes_at_most_a_fifth_and_adds_nothing(n in 0u32..200, random in 0.0f64..1.0) {
            let config = CircuitBreakerConfig::default();
            let full = open_time(&config, n, 0.0);
            let time = open_time(&config, n, random);
            prop_assert!(time <= full && time >= full.mul_f64(0.8));
        }
    }
}

use std::time::{Duration, Instant};

use super::CircuitBreakerConfig;
use super::window::Window;

/// Opens on the window's failure rate, for longer each time until a recovery. It is pure: time and chance are arguments.
#[derive(Debug)]
pub struct Policy {
    config: CircuitBreakerConfig,
    window: Window,
    openings: u32,
    /// The latest moment that a failure's `Retry-After` pointed to.
    not_before: Option<Instant>,
}

impl Policy {
    pub fn new(config: CircuitBreakerConfig) -> Self {
        let window = Window::new(config.window, config.window_time);
        Self { config, window, openings: 0, not_before: None }
    }

    /// Records a call, and asks for the time if it needs it. Returns true if the breaker must open.
    pub fn record(&mut self, failed: bool, now: impl FnOnce() -> Instant) -> bool {
        self.window.record(failed, now);
        failed && self.must_open()
    }

    fn must_open(&self) -> bool {
        self.window.len() >= self.config.min_calls && self.window.failure_rate() >= self.config.failure_rate
    }

    /// Returns the share of failures in the window, or `None` if it is empty.
    pub fn failure_rate(&mut self, now: Instant) -> Option<f64> {
        self.window.forget(now);
        (self.window.len() > 0).then(|| self.window.failure_rate())
    }

    /// Whether one more success would change nothing.
    pub fn is_spotless(&self) -> bool {
        self.window.is_spotless()
    }

    pub fn not_before(&mut self, hinted: Instant) {
        self.not_before = self.not_before.max(Some(hinted));
    }

    /// Returns how long to open now. `random` is from `[0, 1)`.
    pub fn opens(&mut self, now: Instant, random: f64) -> Duration {
        let hinted = self.not_before.take().map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let time = open_time(&self.config, self.openings, random).max(hinted);
        self.openings = self.openings.saturating_add(1);
        time
    }

    /// Forgets the past. The success of the probe is the first call of a new window.
    pub fn recovers(&mut self, now: Instant) {
        self.window.clear();
        self.window.record(false, || now);
        self.openings = 0;
        self.not_before = None;
    }
}

/// Doubles with each opening, capped, shortened by up to a tenth. `random` is from `[0, 1)`.
fn open_time(config: &CircuitBreakerConfig, openings: u32, random: f64) -> Duration {
    let full = config.open_time.saturating_mul(1 << openings.min(31)).min(config.longest_open_time);
    full.mul_f64(1.0 - 0.1 * random)
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
        fn jitter_takes_at_most_a_tenth_and_adds_nothing(n in 0u32..200, random in 0.0f64..1.0) {
            let config = CircuitBreakerConfig::default();
            let full = open_time(&config, n, 0.0);
            let time = open_time(&config, n, random);
            prop_assert!(time <= full && time >= full.mul_f64(0.9));
        }
    }

    /// Requests of an outage of five minutes that answers at once: those that open the breaker, then the probes.
    fn requests(mut random: impl FnMut() -> f64) -> u32 {
        let config = CircuitBreakerConfig::default();
        let mut policy = Policy::new(config.clone());
        let start = Instant::now();
        let (mut now, mut requests) = (start, config.min_calls);
        loop {
            now += policy.opens(now, random());
            if now - start >= Duration::from_secs(300) {
                return requests;
            }
            requests += 1;
        }
    }

    #[test]
    fn five_minutes_of_outage_cost_forty_requests_at_most() {
        assert_eq!((requests(|| 0.0), requests(|| 1.0)), (37, 40), "however the dice fall");
        let total: u32 = (0..1000)
            .map(|seed| {
                let mut dice = fastrand::Rng::with_seed(seed);
                requests(|| dice.f64())
            })
            .sum();
        assert_eq!(total / 1000, 38);
    }
}

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::CircuitState;
use super::breaker::Shared;

/// Reads the state of a circuit breaker, and lets an operator decide it.
/// [`CircuitBreakerLayer::handle`](super::CircuitBreakerLayer::handle) returns it. Clones share the breaker.
///
/// # Metrics
///
/// The feature `metrics` publishes the breakers of the client. Their label `surface` has the value of their default name. The
/// layers know no recorder, so a service publishes a breaker around another API with this handle, for example before each
/// scrape:
///
/// ```
/// use metrics::{counter, gauge};
/// use posthog_health::layers::{CircuitBreakerHandle, CircuitState};
///
/// fn publish(breaker: &CircuitBreakerHandle) {
///     let name = breaker.name().unwrap_or("unnamed").to_owned();
///     let is_open = breaker.state() != CircuitState::Closed;
///     gauge!("circuit_breaker_open", "breaker" => name.clone()).set(f64::from(is_open));
///     let openings = breaker.transitions(CircuitState::Open);
///     counter!("circuit_breaker_openings_total", "breaker" => name.clone()).absolute(openings);
///     counter!("circuit_breaker_rejected_total", "breaker" => name).absolute(breaker.rejected());
/// }
/// ```
#[derive(Clone, Debug)]
pub struct CircuitBreakerHandle {
    pub(super) shared: Arc<Shared>,
}

impl CircuitBreakerHandle {
    /// Returns the state. A breaker whose open time is over stays `Open` until a call comes to probe.
    pub fn state(&self) -> CircuitState {
        self.shared.state()
    }

    /// Returns the name that the configuration gives the breaker.
    pub fn name(&self) -> Option<&str> {
        self.shared.name()
    }

    /// Returns the time until the next probe is due, or `None` unless the breaker is open and will probe.
    pub fn retry_in(&self) -> Option<Duration> {
        if self.state() != CircuitState::Open {
            return None;
        }
        self.shared.open_time_left().time()
    }

    /// Returns how many calls the breaker has rejected.
    pub fn rejected(&self) -> u64 {
        self.shared.rejected()
    }

    /// Returns the share of failures among the results that count now, from 0 to 1, or `None` if there is none.
    pub fn failure_rate(&self) -> Option<f64> {
        self.shared.failure_rate()
    }

    /// Opens the breaker until [`force_closed`](Self::force_closed) or [`reset`](Self::reset): no call reaches the service,
    /// and nothing probes it.
    pub fn force_open(&self) {
        self.shared.force(Some(CircuitState::Open));
    }

    /// Closes the breaker until [`force_open`](Self::force_open) or [`reset`](Self::reset): all calls reach the service,
    /// whatever they find.
    pub fn force_closed(&self) {
        self.shared.force(Some(CircuitState::Closed));
    }

    /// Closes the breaker, forgets all results, and lets results decide again.
    pub fn reset(&self) {
        self.shared.force(None);
    }

    /// Whether [`force_open`](Self::force_open) or [`force_closed`](Self::force_closed) is in force.
    pub fn is_forced(&self) -> bool {
        self.shared.is_forced()
    }

    /// Returns how often the breaker has changed to this state.
    pub fn transitions(&self, to: CircuitState) -> u64 {
        self.shared.transitions(to)
    }

    /// Follows the state. A slow reader sees the latest state and may miss some in between.
    pub fn subscribe(&self) -> watch::Receiver<CircuitState> {
        self.shared.subscribe()
    }
}

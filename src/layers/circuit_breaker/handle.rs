use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::CircuitState;
use super::breaker::Shared;

/// Reads the state of a circuit breaker and changes nothing. [`CircuitBreakerLayer::handle`](super::CircuitBreakerLayer::handle)
/// returns it. Clones read the same breaker.
#[derive(Clone, Debug)]
pub struct CircuitBreakerHandle {
    pub(super) shared: Arc<Shared>,
}

impl CircuitBreakerHandle {
    /// Returns the state. A breaker whose open time is over stays `Open` until a call comes to probe.
    pub fn state(&self) -> CircuitState {
        self.shared.state()
    }

    /// Returns the time until the next probe is due, or `None` unless the breaker is open.
    pub fn retry_in(&self) -> Option<Duration> {
        (self.state() == CircuitState::Open).then(|| self.shared.open_time_left())
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

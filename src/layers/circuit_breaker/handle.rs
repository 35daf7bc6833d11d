use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use super::breaker::Shared;

/// The breaker's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums, reason = "a circuit breaker has three states")]
pub enum State {
    /// Calls pass.
    Closed,
    /// Calls are rejected or wait.
    Open,
    /// A few calls may try.
    HalfOpen,
}

impl State {
    pub(crate) const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// As it stands in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A handle on a breaker: its state, and nothing that changes it.
#[derive(Clone, Debug)]
pub struct CircuitBreaker {
    pub(super) shared: Arc<Shared>,
}

impl CircuitBreaker {
    /// The state now. An open breaker whose time is over stays `Open` until a call comes to probe.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// Time until the next probe is due, while open.
    pub fn retry_in(&self) -> Option<Duration> {
        (self.state() == State::Open).then(|| self.shared.open_time_left())
    }

    /// How often it has changed to this state.
    pub fn transitions(&self, to: State) -> u64 {
        self.shared.transitions(to)
    }

    /// Follows the state. A slow reader sees the latest state and may miss some in between.
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.shared.subscribe()
    }
}

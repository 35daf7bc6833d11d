use serde::Serialize;

/// The state of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums, reason = "a circuit breaker has three states")]
pub enum CircuitState {
    /// Calls pass.
    Closed,
    /// Calls are rejected or wait.
    Open,
    /// A few calls may probe the service.
    HalfOpen,
}

impl CircuitState {
    pub(crate) const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The name in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

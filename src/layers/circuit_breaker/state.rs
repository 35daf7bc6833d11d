use crate::rt::named;

named! {
    /// The state of a circuit breaker.
    #[allow(clippy::exhaustive_enums, reason = "a circuit breaker has three states")]
    pub enum CircuitState {
        /// Calls pass.
        Closed = "closed",
        /// Calls are rejected or wait.
        Open = "open",
        /// A few calls may probe the service.
        HalfOpen = "half_open",
    }
}

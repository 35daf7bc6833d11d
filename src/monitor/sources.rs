use std::sync::Arc;

use super::Surface;
use crate::api::Protocols;
use crate::delivery::{Forgiven, Queue, VerdictCounts};
use crate::layers::{CircuitBreakerHandle, RateLimitHandle, RetryHandle};

/// The parts of the client that the monitor samples.
#[derive(Clone, Debug)]
pub struct Sources {
    pub queue: Arc<Queue>,
    /// One for each surface.
    pub breakers: [CircuitBreakerHandle; Surface::ALL.len()],
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "sampled for the metrics alone"))]
    pub limiter: RateLimitHandle,
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "sampled for the metrics alone"))]
    pub retries: RetryHandle,
    /// Failures that say nothing about PostHog.
    pub forgiven: Arc<Forgiven>,
    /// What capture V1 said of events.
    pub verdicts: Arc<VerdictCounts>,
    /// Which capture protocol is spoken.
    pub protocols: Arc<Protocols>,
}

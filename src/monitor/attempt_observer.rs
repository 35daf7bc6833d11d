use std::sync::Arc;
use std::time::Duration;

use super::Surface;
use super::monitor::Monitor;
use crate::Error;
use crate::api::Accepted;
use crate::layers::Observe;
use crate::rt::{metrics, target};

/// Passes each attempt to reach one surface to the [`Monitor`], to the metrics and to the log.
#[derive(Clone, Debug)]
pub struct AttemptObserver {
    monitor: Arc<Monitor>,
    surface: Surface,
}

impl AttemptObserver {
    pub fn new(monitor: Arc<Monitor>, surface: Surface) -> Self {
        Self { monitor, surface }
    }
}

impl Observe<Accepted, Error> for AttemptObserver {
    fn attempt(&self, latency: Duration, result: Result<&Accepted, &Error>) {
        self.monitor.record(self.surface, latency, result);
        let surface = self.surface.as_str();
        metrics::attempt(surface, latency);
        match result {
            Ok(_) => tracing::debug!(target: target::REQUESTS, surface, ?latency, "attempt answered"),
            Err(error) => {
                let cause = error.innermost_cause().map(ToString::to_string);
                tracing::debug!(target: target::REQUESTS, surface, ?latency, cause, "attempt to reach PostHog failed: {error}");
            }
        }
    }
}

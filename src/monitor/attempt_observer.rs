use std::sync::Arc;
use std::time::Duration;

use super::Surface;
use super::monitor::Monitor;
use crate::Error;
use crate::api::{Accepted, Receipt};
use crate::layers::Observe;
use crate::rt::{metrics, target};

/// Passes each attempt to reach one surface to the [`Monitor`], to the metrics and to the log.
#[derive(Clone, Debug)]
pub struct AttemptObserver {
    /// `None` for attempts that say nothing about PostHog.
    monitor: Option<Arc<Monitor>>,
    surface: Surface,
}

impl AttemptObserver {
    pub fn new(monitor: Arc<Monitor>, surface: Surface) -> Self {
        Self { monitor: Some(monitor), surface }
    }

    /// Only logs.
    pub fn unmonitored(surface: Surface) -> Self {
        Self { monitor: None, surface }
    }
}

/// Delivery's attempts may find nothing to send, and then are none.
impl Observe<Option<Receipt>, Error> for AttemptObserver {
    fn attempt(&self, latency: Duration, result: Result<&Option<Receipt>, &Error>) {
        if let Some(result) = result.map(Option::as_ref).transpose() {
            self.attempt(latency, result.map(|receipt| &receipt.accepted));
        }
    }
}

impl Observe<Accepted, Error> for AttemptObserver {
    fn attempt(&self, latency: Duration, result: Result<&Accepted, &Error>) {
        let surface = self.surface.as_str();
        if let Some(monitor) = &self.monitor {
            monitor.record(self.surface, latency, result);
            metrics::attempt(surface, latency);
        }
        match result {
            Ok(_) => tracing::debug!(target: target::REQUESTS, surface, ?latency, "attempt answered"),
            Err(error) => {
                let cause = error.innermost_cause().map(ToString::to_string);
                tracing::debug!(target: target::REQUESTS, surface, ?latency, cause, "attempt to reach PostHog failed: {error}");
            }
        }
    }
}

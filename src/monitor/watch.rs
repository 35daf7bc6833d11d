use std::sync::Arc;
use std::time::Duration;

use super::looks::Monitor;
use super::{Surface, metrics};
use crate::Error;
use crate::layers::Observe;
use crate::outcome::{Accepted, innermost_cause};
use crate::rt::target;

/// Shows a [`Monitor`] the attempts to reach one surface.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    monitor: Arc<Monitor>,
    surface: Surface,
}

impl Watch {
    pub(crate) fn new(monitor: Arc<Monitor>, surface: Surface) -> Self {
        Self { monitor, surface }
    }
}

impl Observe<Accepted, Error> for Watch {
    fn attempt(&self, latency: Duration, result: Result<&Accepted, &Error>) {
        self.monitor.record(self.surface, latency, result);
        metrics::attempt(self.surface, latency);
        let surface = self.surface.as_str();
        match result {
            Ok(_) => tracing::debug!(target: target::REQUESTS, surface, ?latency, "attempt answered"),
            Err(error) => {
                let cause = innermost_cause(error).map(ToString::to_string);
                tracing::debug!(
                    target: target::REQUESTS,
                    surface,
                    ?latency,
                    cause,
                    "attempt failed: {error}"
                );
            }
        }
    }
}

use std::sync::Arc;
use std::time::Duration;

use tower::Service;

use crate::api::{Accepted, Batch, PostHogClassifier};
use crate::config::Settings;
use crate::credentials::{Credentials, ProjectToken};
use crate::delivery::{Pacing, Queue, Worker};
use crate::layers::{
    CircuitBreakerHandle, CircuitBreakerLayer, DeliveryLayers, RateLimitLayer, RetryLayer, delivery_stack,
};
use crate::monitor::{AttemptObserver, Monitor, Sources, Surface};
use crate::{ConfigError, Error};

/// What stands between the queue and PostHog: the layers of delivery, the breaker of flags, and the monitor that
/// observes both.
pub struct Pipeline {
    pub monitor: Arc<Monitor>,
    pub flags: CircuitBreakerLayer<PostHogClassifier>,
    delivery: DeliveryLayers<PostHogClassifier, AttemptObserver>,
    pacing: Pacing,
    /// The first and the longest pause after a batch whose attempts ended.
    setback: (Duration, Duration),
}

impl Pipeline {
    pub fn new(queue: &Arc<Queue>, settings: &Settings) -> Result<Self, ConfigError> {
        let circuit_breaker =
            CircuitBreakerLayer::new(settings.circuit_breaker.clone(), PostHogClassifier)?.wait_when_open();
        let flags = CircuitBreakerLayer::new(settings.flags.circuit_breaker.clone(), PostHogClassifier)?;
        let retry = RetryLayer::new(settings.retry.clone(), PostHogClassifier)?;
        let rate_limit = RateLimitLayer::new(settings.rate_limit.clone(), PostHogClassifier)?;
        let sources = Sources {
            queue: Arc::clone(queue),
            breakers: [circuit_breaker.handle(), flags.handle()],
            limiter: rate_limit.handle(),
            retries: retry.handle(),
        };
        let monitor = Arc::new(Monitor::new(settings.alerts.clone(), settings.rollout.clone(), sources));
        let delivery = DeliveryLayers {
            retry,
            circuit_breaker,
            rate_limit,
            observer: AttemptObserver::new(Arc::clone(&monitor), Surface::Capture),
            timeout: settings.request_timeout,
        };
        let (pacing, setback) = (settings.pacing.clone(), settings.retry.setback());
        Ok(Self { monitor, flags, delivery, pacing, setback })
    }

    /// The breaker of delivery.
    pub fn breaker(&self) -> CircuitBreakerHandle {
        self.delivery.circuit_breaker.handle()
    }

    /// Builds the worker that delivers through this service.
    pub fn worker<S>(
        self,
        queue: &Arc<Queue>,
        service: S,
        credentials: &Arc<Credentials<ProjectToken>>,
    ) -> Worker<impl Service<Batch, Response = Accepted, Error = Error, Future: Send> + Clone + Send + 'static>
    where
        S: Service<Batch, Response = Accepted, Error = Error, Future: Send> + Clone + Send + 'static,
    {
        let breaker = self.breaker().subscribe();
        let stack = delivery_stack(self.delivery, service);
        Worker::new(Arc::clone(queue), stack, self.pacing, self.setback, Arc::clone(credentials), breaker)
    }
}

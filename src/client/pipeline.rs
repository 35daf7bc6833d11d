use std::sync::Arc;
use std::time::Duration;

use tower::{Service, ServiceBuilder};

use crate::api::{Batch, PostHogClassifier, Protocols, Receipt};
use crate::config::Settings;
use crate::credentials::{Credentials, ProjectToken};
use crate::delivery::{
    AttemptClassifier, Dispatcher, DispatcherLinks, Forgiven, Queue, SlotService, VerdictCounts, Worker,
    attempts,
};
use crate::layers::{
    CircuitBreakerHandle, CircuitBreakerLayer, DeliveryLayers, ObserveLayer, RateLimitLayer, RetryLayer,
    TimeoutLayer, WaitIn, delivery_stack,
};
use crate::monitor::{AttemptObserver, Monitor, Sources, Surface};
use crate::{ConfigError, Error, ErrorKind};

/// What stands between the queue and PostHog: the worker with its layers, the breaker of flags, and the monitor that
/// observes both.
pub struct Pipeline<L, Q> {
    pub monitor: Arc<Monitor>,
    pub worker: Worker<L, Q>,
    pub breaker: CircuitBreakerHandle,
    pub flags_breaker: CircuitBreakerLayer<PostHogClassifier>,
}

/// The longest pause after a batch whose attempts all failed. It is shorter than the longest open time of the circuit
/// breaker (10 s), so that it does not delay a recovery that the breaker has found.
const LONGEST_SETBACK: Duration = Duration::from_secs(5);

/// Builds the pipeline that delivers through `service`. Starts nothing.
pub fn pipeline<S>(
    queue: &Arc<Queue>,
    settings: &Settings,
    tokens: &Arc<Credentials<ProjectToken>>,
    protocols: &Arc<Protocols>,
    service: S,
) -> Result<Pipeline<impl SlotService + use<S>, impl SlotService + use<S>>, ConfigError>
where
    S: Service<Batch, Response = Receipt, Error = Error, Future: Send> + Clone + Send + 'static,
{
    let classifier = AttemptClassifier;
    let retry = RetryLayer::new(settings.retry.clone(), classifier)?;
    // A probe waits for the limiter too, and its own timeout ends it.
    let longest_wait = settings.longest_retry_after.max(settings.rate_limit.longest_pause);
    let breaker =
        settings.circuit_breaker.clone().around("capture", longest_wait + 2 * settings.request_timeout);
    let circuit_breaker = CircuitBreakerLayer::new(breaker, classifier)?.wait_when_open(WaitIn::Call);
    let rate_limit = RateLimitLayer::new(settings.rate_limit.clone(), classifier)?;
    let breaker = settings.flags.circuit_breaker.clone().around("flags", 2 * settings.flags.timeout);
    let flags_breaker = CircuitBreakerLayer::new(breaker, PostHogClassifier)?;
    let forgiven = Arc::<Forgiven>::default();
    let verdicts = Arc::<VerdictCounts>::default();
    let breaker = circuit_breaker.handle();
    let sources = Sources {
        queue: Arc::clone(queue),
        breakers: [breaker.clone(), flags_breaker.handle()],
        limiter: rate_limit.handle(),
        retries: retry.handle(),
        forgiven: Arc::clone(&forgiven),
        verdicts: Arc::clone(&verdicts),
        protocols: Arc::clone(protocols),
    };
    let monitor = Arc::new(Monitor::new(settings.alerts.clone(), settings.rollout.clone(), sources));
    let setback = (settings.retry.base, settings.retry.cap.min(LONGEST_SETBACK));
    let (queue, pacing) = (Arc::clone(queue), settings.pacing.clone());
    let links = DispatcherLinks {
        credentials: Arc::clone(tokens),
        breaker: breaker.subscribe(),
        forgiven,
        verdicts,
        protocols: Arc::clone(protocols),
    };
    let dispatcher = Dispatcher::new(queue, pacing, setback, links);
    let attempts = attempts(Arc::clone(&dispatcher), service);
    // Neither a breaker nor the monitor: the failures of suspects say nothing about PostHog. No retry: the dispatcher
    // decides when.
    let suspect = ServiceBuilder::new()
        .layer(rate_limit.clone())
        // A `Retry-After` that an event provokes must not pause the others.
        .map_err(|error: Error| match error {
            error if error.kind() == ErrorKind::RateLimited => error,
            error => error.with_retry_after(None),
        })
        .map_response(|receipt: Option<Receipt>| {
            receipt.map(|receipt| Receipt { retry_after: None, ..receipt })
        })
        .layer(ObserveLayer::new(AttemptObserver::unmonitored(Surface::Capture)))
        .map_err(Error::from)
        .layer(TimeoutLayer::new(settings.request_timeout))
        .service(attempts.clone());
    let layers = DeliveryLayers {
        retry,
        circuit_breaker,
        rate_limit,
        observer: AttemptObserver::new(Arc::clone(&monitor), Surface::Capture),
        timeout: settings.request_timeout,
    };
    let worker = Worker::new(dispatcher, delivery_stack(layers, attempts), suspect);
    Ok(Pipeline { monitor, worker, breaker, flags_breaker })
}

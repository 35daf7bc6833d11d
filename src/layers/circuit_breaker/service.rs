use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::breaker::Shared;
use super::permit::{Permit, permit};
use super::{CircuitBreakerConfig, CircuitBreakerHandle, CircuitOpen};
use crate::ConfigError;
use crate::layers::Classify;
use crate::layers::gated::GatedFuture;

/// Stops calling a service that fails, and finds out gently when it has recovered.
///
/// The state machine is `failsafe`'s. The failure policy, the gate of the half-open state and the waiting are this layer's.
///
/// ```text
///               failure rate reached
///   ┌────────┐ ─────────────────────────────────► ┌──────┐
///   │ closed │                                    │ open │ ◄──┐ a probe failed:
///   └────────┘ ◄──────────┐                       └──────┘    │ open for longer
///                 a probe │                          │ open time over
///               succeeded │   ┌───────────┐          │        │
///                         └── │ half open │ ◄────────┘        │
///                             └───────────┘ ──────────────────┘
/// ```
///
/// - **Closed.** Calls pass. The last `window` results decide: when at least `min_calls` of them are there and the share of
///   failures reaches the threshold, the breaker opens. The window slides call by call, so a thousand old successes do not
///   hide ten new failures, and recording costs the same however many calls it holds.
/// - **Open.** Calls are rejected with [`CircuitOpen`] at once, or [wait](Self::wait_when_open). The open time starts at
///   1 s and doubles with each failed probe up to 10 s. It is shortened by up to a tenth at random, so that many clients do
///   not probe in step. It never undercuts a `Retry-After` that a failure carried.
/// - **Half open.** `failsafe` alone would admit every call. Here at most `probes` calls are in flight. A probe that is
///   dropped before its end returns its permit. The first success closes the breaker, a failure opens it again.
///
/// The [`Verdict`](crate::layers::Verdict) decides what counts: only `Failed` is a failure. `Refused` is a success, because
/// the service is alive. `Throttled` counts as neither, so a breaker never opens on 429s. Results of calls that began in an
/// earlier state are ignored. Slow calls are successes: put a timeout below the breaker, and those that exceed it are
/// failures.
///
/// # Defaults
///
/// Half of the last 10 calls failed, at least 5; open for 1 s doubling to 10 s; 1 probe; calls are rejected while open.
/// Each method of [`CircuitBreakerConfig`] gives the reason.
///
/// # Cost
///
/// A call that passes a closed breaker, or is rejected, allocates nothing in the breaker and reads no clock. While the
/// window holds only successes, one more changes nothing and is not recorded, so the calls of a healthy service take no
/// lock. Neither do rejected calls.
///
/// # Clone
///
/// All services that one layer or its clones produce, and its [handle](CircuitBreakerHandle), share one breaker.
///
/// # Cancel safety
///
/// Dropping a call records nothing and frees its permit. Dropping a waiting call leaves the queue.
///
/// # Time
///
/// The open time runs on `failsafe`'s own clock (`std::time::Instant`), which a paused tokio clock does not steer. In
/// tests, configure milliseconds.
///
/// # Examples
///
/// ```
/// use posthog_health::Error;
/// use posthog_health::layers::{CircuitBreakerConfig, CircuitBreakerLayer, HttpStatus};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example(request: reqwest::Request) -> Result<(), Box<dyn std::error::Error>> {
/// let layer = CircuitBreakerLayer::new(CircuitBreakerConfig::default(), HttpStatus::default())?;
/// let breaker = layer.handle();
/// let service = ServiceBuilder::new().layer(layer).map_err(Error::from).service(reqwest::Client::new());
/// println!("{:?}", breaker.state());
/// let response = service.oneshot(request).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct CircuitBreakerLayer<C> {
    shared: Arc<Shared>,
    waits: bool,
    classifier: C,
}

impl<C> CircuitBreakerLayer<C> {
    /// Makes a new, closed breaker.
    ///
    /// # Errors
    ///
    /// When a value of `config` is zero, absurd, or does not fit the others.
    pub fn new(config: CircuitBreakerConfig, classifier: C) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { shared: Arc::new(Shared::new(config)), waits: false, classifier })
    }

    /// Makes calls wait while the breaker is open, until they may probe the service or the breaker closes. By default they
    /// fail at once, for callers that have something better to do than wait. Waiting suits background work. Bound the
    /// number of callers that can wait.
    #[must_use]
    pub fn wait_when_open(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Returns a handle that reads the breaker's state.
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle { shared: Arc::clone(&self.shared) }
    }
}

impl<S, C: Clone> Layer<S> for CircuitBreakerLayer<C> {
    type Service = CircuitBreaker<S, C>;

    fn layer(&self, service: S) -> Self::Service {
        let (shared, classifier) = (Arc::clone(&self.shared), self.classifier.clone());
        CircuitBreaker { service, shared, waits: self.waits, classifier }
    }
}

/// A service behind a circuit breaker, made by [`CircuitBreakerLayer`].
///
/// Its errors are those of the service, into which a [`CircuitOpen`] must be convertible. `tower::BoxError` and
/// [`Error`](crate::Error) are such errors.
#[derive(Clone, Debug)]
pub struct CircuitBreaker<S, C> {
    service: S,
    shared: Arc<Shared>,
    waits: bool,
    classifier: C,
}

impl<S, C, Req> Service<Req> for CircuitBreaker<S, C>
where
    S: Service<Req> + Clone,
    S::Error: From<CircuitOpen>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = GatedFuture<S, Permit, C, Req>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let classifier = self.classifier.clone();
        match self.shared.admit() {
            Ok(permit) => GatedFuture::called(self.service.call(request), permit, classifier),
            Err(_) if self.waits => {
                let permit = Box::pin(permit(Arc::clone(&self.shared)));
                GatedFuture::waiting(&mut self.service, request, permit, classifier)
            }
            Err(open) => GatedFuture::rejected(open.into(), classifier),
        }
    }
}

use std::time::Duration;

use tower::{BoxError, Service, ServiceBuilder};

use super::{
    CircuitBreakerLayer, CircuitOpen, Classify, Observe, ObserveLayer, RateLimitExceeded, RateLimitLayer,
    ReplayWith, Replayed, RetryLayer, TimeoutLayer,
};

/// What [`delivery_stack`] is made of.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "a list of the stack's parts: a new part is a breaking change")]
pub struct DeliveryLayers<C, O, R = Replayed> {
    /// The outermost layer: each attempt is one call of the layers below.
    pub retry: RetryLayer<C, R>,
    /// Keep its [handle](CircuitBreakerLayer::handle) to see its state.
    pub circuit_breaker: CircuitBreakerLayer<C>,
    /// Limits attempts.
    pub rate_limit: RateLimitLayer<C>,
    /// Sees each attempt that reaches the service.
    pub observer: O,
    /// The time for one attempt, from the first poll of its future. After it, the error is tower's
    /// [`Elapsed`](tower::timeout::error::Elapsed).
    pub timeout: Duration,
}

/// Composes the layers in the one order that makes sense, which the comments in its source explain.
///
/// `E` is the error type above the timeout: [`Error`](crate::Error), `tower::BoxError`, or your own that can
/// be made from one.
pub fn delivery_stack<S, Req, E, C, O, R>(
    layers: DeliveryLayers<C, O, R>,
    service: S,
) -> impl Service<Req, Response = S::Response, Error = E, Future: Send> + Clone + Send
where
    S: Service<Req> + Clone + Send,
    S::Response: Send,
    S::Error: Into<BoxError>,
    S::Future: Send,
    Req: Send,
    R: ReplayWith<Req> + Clone + Send,
    E: From<BoxError> + From<CircuitOpen> + From<RateLimitExceeded> + Send,
    C: Classify<S::Response, E> + Clone + Send,
    O: Observe<S::Response, E> + Clone + Send,
{
    ServiceBuilder::new()
        // Each retry passes everything below anew: it waits for the breaker and takes a token.
        .layer(layers.retry)
        // Above the limiter, so that a rejected call spends no token.
        .layer(layers.circuit_breaker)
        // Above the timeout, so that waiting for a token is not mistaken for a slow server.
        .layer(layers.rate_limit)
        // Outside the timeout, so that timeouts are seen.
        .layer(ObserveLayer::new(layers.observer))
        .map_err(E::from)
        .layer(TimeoutLayer::new(layers.timeout))
        .service(service)
}

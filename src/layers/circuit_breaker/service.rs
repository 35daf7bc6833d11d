use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::breaker::Shared;
use super::permit::{Permit, permit};
use super::{CircuitBreaker, CircuitBreakerConfig, CircuitOpen};
use crate::ConfigError;
use crate::layers::Classify;
use crate::layers::gated::ResponseFuture;

/// Applies a circuit breaker; see the [module](super).
#[derive(Clone, Debug)]
pub struct CircuitBreakerLayer<C> {
    shared: Arc<Shared>,
    classifier: C,
}

impl<C> CircuitBreakerLayer<C> {
    /// A new, closed breaker.
    ///
    /// # Errors
    ///
    /// When a value of `config` is zero, absurd, or does not fit the others.
    pub fn new(config: CircuitBreakerConfig, classifier: C) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self { shared: Arc::new(Shared::new(config)), classifier })
    }

    /// A handle to see the breaker's state.
    pub fn handle(&self) -> CircuitBreaker {
        CircuitBreaker { shared: Arc::clone(&self.shared) }
    }
}

impl<S, C: Clone> Layer<S> for CircuitBreakerLayer<C> {
    type Service = CircuitBroken<S, C>;

    fn layer(&self, service: S) -> Self::Service {
        CircuitBroken { service, shared: Arc::clone(&self.shared), classifier: self.classifier.clone() }
    }
}

/// A service behind a circuit breaker. Its errors stay those of the service, into which a [`CircuitOpen`]
/// must be convertible: `tower::BoxError` and [`Error`](crate::Error) take it.
#[derive(Clone, Debug)]
pub struct CircuitBroken<S, C> {
    service: S,
    shared: Arc<Shared>,
    classifier: C,
}

impl<S, C, Req> Service<Req> for CircuitBroken<S, C>
where
    S: Service<Req> + Clone,
    S::Error: From<CircuitOpen>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Permit, C, Req>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let classifier = self.classifier.clone();
        match self.shared.admit() {
            Ok(permit) => ResponseFuture::called(self.service.call(request), permit, classifier),
            Err(_) if self.shared.waits_when_open() => {
                let permit = Box::pin(permit(Arc::clone(&self.shared)));
                ResponseFuture::waiting(&mut self.service, request, permit, classifier)
            }
            Err(open) => ResponseFuture::rejected(open.into(), classifier),
        }
    }
}

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::breaker::Shared;
use super::permit::{Permit, permit};
use super::{CircuitBreaker, CircuitBreakerConfig, CircuitOpen};
use crate::ConfigError;
use crate::layers::Classify;

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
    type Future = ResponseFuture<S, C, Req>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let classifier = self.classifier.clone();
        let state = match self.shared.admit() {
            Ok(permit) => State::Called { future: self.service.call(request), permit: Some(permit) },
            Err(_) if self.shared.waits_when_open() => {
                // The service that was polled ready is the one to call; the clone takes its place.
                let clone = self.service.clone();
                let ready = std::mem::replace(&mut self.service, clone);
                let permit = Box::pin(permit(Arc::clone(&self.shared)));
                State::Waiting { call: Some((ready, request)), permit }
            }
            Err(open) => State::Rejected { open },
        };
        ResponseFuture { state, classifier }
    }
}

pin_project! {
    /// The response of a [`CircuitBroken`] service.
    pub struct ResponseFuture<S, C, Req> where S: Service<Req> {
        #[pin]
        state: State<S, S::Future, Req>,
        classifier: C,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, Req> {
        Rejected { open: CircuitOpen },
        Waiting { call: Option<(S, Req)>, permit: Pin<Box<dyn Future<Output = Permit> + Send>> },
        Called { #[pin] future: F, permit: Option<Permit> },
    }
}

impl<S, C, Req> Future for ResponseFuture<S, C, Req>
where
    S: Service<Req>,
    S::Error: From<CircuitOpen>,
    C: Classify<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Rejected { open } => return Poll::Ready(Err((*open).into())),
                StateProj::Waiting { call, permit } => {
                    let permit = Some(ready!(permit.as_mut().poll(cx)));
                    let Some((mut service, request)) = call.take() else {
                        return Poll::Pending;
                    };
                    this.state.set(State::Called { future: service.call(request), permit });
                }
                StateProj::Called { future, permit } => {
                    let result = ready!(future.poll(cx));
                    if let Some(permit) = permit.take() {
                        permit.settle(this.classifier.classify(result.as_ref()));
                    }
                    return Poll::Ready(result);
                }
            }
        }
    }
}

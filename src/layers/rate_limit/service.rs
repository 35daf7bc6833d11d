use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::RateLimitConfig;
use super::bucket::Bucket;
use super::token::{Token, token};
use crate::ConfigError;
use crate::layers::Classify;

/// Applies [`RateLimit`]; see the [module](super).
#[derive(Clone, Debug)]
pub struct RateLimitLayer<C> {
    bucket: Arc<Bucket>,
    classifier: C,
}

impl<C> RateLimitLayer<C> {
    /// A new, full bucket.
    ///
    /// # Errors
    ///
    /// When a value of `config` is zero or the pause shrinks.
    pub fn new(config: RateLimitConfig, classifier: C) -> Result<Self, ConfigError> {
        let bucket = Bucket::new(config.quota()?, config.pause, config.longest_pause);
        Ok(Self { bucket: Arc::new(bucket), classifier })
    }
}

impl<S, C: Clone> Layer<S> for RateLimitLayer<C> {
    type Service = RateLimit<S, C>;

    fn layer(&self, service: S) -> Self::Service {
        RateLimit { service, bucket: Arc::clone(&self.bucket), classifier: self.classifier.clone() }
    }
}

/// A service whose calls wait for a token.
#[derive(Clone, Debug)]
pub struct RateLimit<S, C> {
    service: S,
    bucket: Arc<Bucket>,
    classifier: C,
}

impl<S, C, Req> Service<Req> for RateLimit<S, C>
where
    S: Service<Req> + Clone,
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
        let state = match self.bucket.take() {
            Ok(token) => State::Called { future: self.service.call(request), token: Some(token) },
            Err(_) => {
                // The service that was polled ready is the one to call; the clone takes its place.
                let clone = self.service.clone();
                let ready = std::mem::replace(&mut self.service, clone);
                let token = Box::pin(token(Arc::clone(&self.bucket)));
                State::Waiting { call: Some((ready, request)), token }
            }
        };
        ResponseFuture { state, classifier }
    }
}

pin_project! {
    /// The response of a [`RateLimit`]ed service.
    pub struct ResponseFuture<S, C, Req> where S: Service<Req> {
        #[pin]
        state: State<S, S::Future, Req>,
        classifier: C,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, Req> {
        Waiting { call: Option<(S, Req)>, token: Pin<Box<dyn Future<Output = Token> + Send>> },
        Called { #[pin] future: F, token: Option<Token> },
    }
}

impl<S, C, Req> Future for ResponseFuture<S, C, Req>
where
    S: Service<Req>,
    C: Classify<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Waiting { call, token } => {
                    let token = Some(ready!(token.as_mut().poll(cx)));
                    let Some((mut service, request)) = call.take() else {
                        return Poll::Pending;
                    };
                    this.state.set(State::Called { future: service.call(request), token });
                }
                StateProj::Called { future, token } => {
                    let result = ready!(future.poll(cx));
                    if let Some(token) = token.take() {
                        token.settle(this.classifier.classify(result.as_ref()));
                    }
                    return Poll::Ready(result);
                }
            }
        }
    }
}

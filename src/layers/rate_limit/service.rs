use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tower::{Layer, Service};

use super::RateLimitConfig;
use super::bucket::Bucket;
use crate::ConfigError;
use crate::layers::{Classify, Verdict};

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
        // The service that was polled ready is the one to call; the clone takes its place.
        let clone = self.service.clone();
        let ready = std::mem::replace(&mut self.service, clone);
        ResponseFuture {
            waiting: Some((ready, request)),
            sleep: None,
            called: None,
            bucket: Arc::clone(&self.bucket),
            classifier: self.classifier.clone(),
        }
    }
}

pin_project! {
    /// The response of a [`RateLimit`]ed service.
    pub struct ResponseFuture<S, C, Req> where S: Service<Req> {
        waiting: Option<(S, Req)>,
        sleep: Option<Pin<Box<Sleep>>>,
        #[pin]
        called: Option<S::Future>,
        bucket: Arc<Bucket>,
        classifier: C,
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
        while this.waiting.is_some() {
            if let Some(sleep) = this.sleep {
                ready!(sleep.as_mut().poll(cx));
                *this.sleep = None;
            }
            match this.bucket.take() {
                Err(wait) => *this.sleep = Some(Box::pin(sleep(wait))),
                Ok(()) => {
                    if let Some((mut service, request)) = this.waiting.take() {
                        this.called.set(Some(service.call(request)));
                    }
                }
            }
        }
        let Some(future) = this.called.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let result = ready!(future.poll(cx));
        match this.classifier.classify(result.as_ref()) {
            Verdict::Throttled { retry_after } => this.bucket.throttled(retry_after),
            Verdict::Success => this.bucket.succeeded(),
            _ => {}
        }
        Poll::Ready(result)
    }
}

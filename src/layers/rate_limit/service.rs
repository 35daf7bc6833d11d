use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower::{Layer, Service};

use super::RateLimitConfig;
use super::bucket::Bucket;
use super::token::{Token, token};
use crate::ConfigError;
use crate::layers::Classify;
use crate::layers::gated::ResponseFuture;

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

    /// A handle on the bucket, to look at.
    pub fn handle(&self) -> RateLimiter {
        RateLimiter { bucket: Arc::clone(&self.bucket) }
    }
}

/// A handle on a bucket: what it has done, and nothing that changes it.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    bucket: Arc<Bucket>,
}

impl RateLimiter {
    /// Whether the service has asked for fewer calls and has not answered one since.
    pub fn is_paused(&self) -> bool {
        self.bucket.is_paused()
    }

    /// Calls that have waited for their token, up to now.
    pub fn waits(&self) -> u64 {
        self.bucket.waits()
    }

    /// How long they have waited, all together.
    pub fn waited(&self) -> Duration {
        self.bucket.waited()
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
    type Future = ResponseFuture<S, Token, C, Req>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let classifier = self.classifier.clone();
        match self.bucket.take() {
            Ok(token) => ResponseFuture::called(self.service.call(request), token, classifier),
            Err(_) => {
                let token = Box::pin(token(Arc::clone(&self.bucket)));
                ResponseFuture::waiting(&mut self.service, request, token, classifier)
            }
        }
    }
}

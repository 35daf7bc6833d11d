use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower::{Layer, Service};

use super::RateLimitConfig;
use super::bucket::Bucket;
use super::token::{Token, token};
use crate::ConfigError;
use crate::layers::Classify;
use crate::layers::gated::GatedFuture;

/// Limits the rate of calls by a token bucket (GCRA, by `governor`), and pauses when the service asks for it.
///
/// A call waits for its token; nothing is rejected. When the service answers
/// [`Throttled`](crate::layers::Verdict::Throttled) (429), the bucket pauses for as long as the service asked
/// (`Retry-After`). Without a hint it pauses for one second, doubling with each further 429 up to 30 s. A
/// [`Failed`](crate::layers::Verdict::Failed) (503) with a `Retry-After` pauses it too.
///
/// When a pause is over, one call goes ahead as a scout and the others wait for its answer, so that a pause does not end in
/// a herd. The first call that the service answers ends the episode. Waiting for a token is not part of an attempt, so put
/// a timeout below this layer.
///
/// # Defaults
///
/// 50 calls a second with a burst of 100. They bound a runaway loop, and the traffic after an outage.
///
/// # Clone
///
/// All services that one layer or its clones produce, and its [handle](RateLimitHandle), share one bucket and one pause.
///
/// # Cancel safety
///
/// Dropping a waiting call takes no token. Dropping a call that has its token loses that one token. If it was the scout,
/// another call becomes the scout.
///
/// # Examples
///
/// ```
/// use posthog_health::Error;
/// use posthog_health::layers::{HttpStatus, RateLimitConfig, RateLimitLayer};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example(request: reqwest::Request) -> Result<(), Box<dyn std::error::Error>> {
/// // An API that accepts 240 calls a minute.
/// let layer = RateLimitLayer::new(RateLimitConfig::default().rate(4).burst(10), HttpStatus::default())?;
/// let service = ServiceBuilder::new().layer(layer).map_err(Error::from).service(reqwest::Client::new());
/// let response = service.oneshot(request).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct RateLimitLayer<C> {
    bucket: Arc<Bucket>,
    classifier: C,
}

impl<C> RateLimitLayer<C> {
    /// Makes a new, full bucket.
    ///
    /// # Errors
    ///
    /// When a value of `config` is zero, or the longest pause is shorter than the first.
    pub fn new(config: RateLimitConfig, classifier: C) -> Result<Self, ConfigError> {
        let bucket = Bucket::new(config.quota()?, config.pause, config.longest_pause);
        Ok(Self { bucket: Arc::new(bucket), classifier })
    }

    /// Returns a handle that reads the bucket.
    pub fn handle(&self) -> RateLimitHandle {
        RateLimitHandle { bucket: Arc::clone(&self.bucket) }
    }
}

/// Reads what a rate limit has done and changes nothing. [`RateLimitLayer::handle`] returns it. Clones read the same bucket.
#[derive(Clone, Debug)]
pub struct RateLimitHandle {
    bucket: Arc<Bucket>,
}

impl RateLimitHandle {
    /// Whether the service has asked for fewer calls and has not answered one since.
    pub fn is_paused(&self) -> bool {
        self.bucket.is_paused()
    }

    /// Returns how many calls have waited for their token.
    pub fn waits(&self) -> u64 {
        self.bucket.waits()
    }

    /// Returns how long calls have waited in total.
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

/// A service whose calls wait for a token, made by [`RateLimitLayer`].
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
    type Future = GatedFuture<S, Token, C, Req>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx)
    }

    // `always`, as in `GatedFuture::poll`.
    #[inline(always)]
    fn call(&mut self, request: Req) -> Self::Future {
        let classifier = self.classifier.clone();
        match self.bucket.take() {
            Ok(token) => GatedFuture::called(self.service.call(request), token, classifier),
            Err(_) => {
                let token = Box::pin(token(Arc::clone(&self.bucket)));
                GatedFuture::waiting(&mut self.service, request, token, classifier)
            }
        }
    }
}

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower::{Layer, Service};

use super::bucket::{Bucket, NoToken};
use super::token::{Token, token};
use super::{RateLimitConfig, RateLimitExceeded};
use crate::ConfigError;
use crate::layers::gate::{Gate, Gated, GatedFuture, Signal, Waiting};
use crate::layers::{Classify, Verdict, WaitIn};

/// Limits the rate of calls by a token bucket (GCRA, by `governor`), and pauses when the service asks for it.
///
/// A call waits for its token, or is rejected if that would take [too long](RateLimitConfig::longest_wait). Calls get their
/// tokens in the order in which they came, at the full rate, and each is woken once, when its token is there. When the service
/// answers
/// [`Throttled`](crate::layers::Verdict::Throttled) (429), the bucket pauses for as long as the service asked
/// (`Retry-After`). Without a hint it pauses for one second, doubling with each further 429 up to 30 s. A
/// [`Failed`](crate::layers::Verdict::Failed) (503) with a `Retry-After` pauses it too.
///
/// When a pause is over, one call goes ahead as a scout and the others wait for its answer, so that a pause does not end in
/// a herd. The first call that the service answers ends the episode. If the scout hangs, there is another after 10 s. Waiting
/// for a token is not part of an attempt, so put a timeout below this layer.
///
/// A call ends with its response's head: an answer whose body hangs or breaks off has answered.
///
/// # Readiness
///
/// A call waits in its future, and holds nothing meanwhile that the service has reserved for it. With
/// [`WaitIn::PollReady`](crate::layers::WaitIn) the service is not ready instead. A reservation that an idle handle has made
/// is good for 1 s.
///
/// A waiting call whose future is not polled when its token is there gives way to the next one after 10 ms, and gets the next
/// token when it is polled again. Timers are late by a millisecond or more. A call takes the token of the moment that its timer
/// was set for, up to 50 ms ago, so that lateness costs no rate.
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
/// Dropping a waiting call takes no token, and those behind it move up. Dropping a call that has its token loses that one token.
/// If it was the scout, another call becomes the scout.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use posthog_health::Error;
/// use posthog_health::layers::{HttpStatus, RateLimitConfig, RateLimitLayer};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example(request: reqwest::Request) -> Result<(), Box<dyn std::error::Error>> {
/// // An API that accepts 240 calls a minute.
/// let config = RateLimitConfig::default().rate(230).per(Duration::from_secs(60)).burst(10);
/// let layer = RateLimitLayer::new(config, HttpStatus::default())?;
/// let service = ServiceBuilder::new().layer(layer).map_err(Error::from).service(reqwest::Client::new());
/// let response = service.oneshot(request).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct RateLimitLayer<C> {
    gate: BucketGate,
    classifier: C,
}

impl<C> RateLimitLayer<C> {
    /// Makes a new, full bucket.
    ///
    /// # Errors
    ///
    /// When a value of `config` is zero or absurd, or the longest pause is shorter than the first.
    pub fn new(config: RateLimitConfig, classifier: C) -> Result<Self, ConfigError> {
        let bucket = Arc::new(Bucket::new(config.quota()?, config.pause, config.longest_pause));
        let gate = BucketGate { bucket, longest_wait: config.longest_wait, wait_in: WaitIn::Call };
        Ok(Self { gate, classifier })
    }

    /// Chooses where calls wait for their tokens. The default is [`WaitIn::Call`], because a pass that is reserved and not used
    /// is lost.
    #[must_use]
    pub fn wait_in(mut self, wait_in: WaitIn) -> Self {
        self.gate.wait_in = wait_in;
        self
    }

    /// Returns a handle that reads the bucket.
    pub fn handle(&self) -> RateLimitHandle {
        RateLimitHandle { bucket: Arc::clone(&self.gate.bucket) }
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

    /// Returns how many calls were rejected.
    pub fn rejected(&self) -> u64 {
        self.bucket.rejected()
    }
}

impl<S, C: Clone> Layer<S> for RateLimitLayer<C> {
    type Service = RateLimit<S, C>;

    fn layer(&self, service: S) -> Self::Service {
        RateLimit { gated: Gated::new(service, self.gate.clone(), self.classifier.clone()) }
    }
}

/// A service whose calls wait for a token, made by [`RateLimitLayer`].
///
/// Its errors are those of the service, into which a [`RateLimitExceeded`] must be convertible. `tower::BoxError` and
/// [`Error`](crate::Error) are such errors.
#[derive(Clone, Debug)]
pub struct RateLimit<S, C> {
    gated: Gated<S, BucketGate, C>,
}

impl<S, C, Req> Service<Req> for RateLimit<S, C>
where
    S: Service<Req> + Clone,
    S::Error: From<RateLimitExceeded>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = GatedFuture<S, BucketGate, C, Req>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.gated.poll_ready(cx)
    }

    // `always`, as in `GatedFuture::poll`.
    #[inline(always)]
    fn call(&mut self, request: Req) -> Self::Future {
        self.gated.call(request)
    }
}

/// The bucket as a gate, with what becomes of calls that have no token.
#[derive(Clone, Debug)]
pub struct BucketGate {
    bucket: Arc<Bucket>,
    longest_wait: Option<Duration>,
    wait_in: WaitIn,
}

impl Gate for BucketGate {
    type Pass = Token;
    type Rejected = RateLimitExceeded;

    #[inline]
    fn decides_in_call(&self) -> bool {
        self.wait_in == WaitIn::Call
    }

    #[inline]
    fn pass(&self) -> Result<Token, RateLimitExceeded> {
        self.bucket.take().map_err(NoToken::into)
    }

    fn wait_in(&self) -> Option<WaitIn> {
        (self.longest_wait != Some(Duration::ZERO)).then_some(self.wait_in)
    }

    fn wait(&self) -> Waiting<Self> {
        Box::pin(token(Arc::clone(&self.bucket), self.longest_wait))
    }

    /// A token is good however long the service takes to be ready.
    fn changed(&self, _: Option<&Token>) -> Option<Signal> {
        None
    }

    fn observe(&self, verdict: Verdict) {
        self.bucket.settle(verdict);
    }

    fn count_rejected(&self) {
        self.bucket.count_rejected();
    }
}

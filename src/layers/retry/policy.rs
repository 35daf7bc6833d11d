use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Sleep, sleep};
use tower::Layer;
use tower::retry::{Policy, Retry};

use super::RetryConfig;
use super::backoff::{backoff, full_jitter};
use super::budget::SharedBudget;

use crate::ConfigError;
use crate::layers::{Classify, Verdict};
use crate::rt::target;

/// A request that can be sent again.
///
/// `reqwest::Request` and `http::Request` with a body that is `Clone` are such requests. For other types there is
/// [`RetryLayer::replay_with`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent again",
    note = "`reqwest::Request` and `http::Request<B>` with `B: Clone` can, and you may implement `Replay` for a type of yours",
    note = "for other requests, `RetryLayer::replay_with` takes a closure; with `|_| None` they are tried once"
)]
pub trait Replay: Sized {
    /// Returns the same request once more, or `None` if that is impossible (a streaming body). Then it is tried once.
    fn replay(&self) -> Option<Self>;
}

impl Replay for reqwest::Request {
    fn replay(&self) -> Option<Self> {
        self.try_clone()
    }
}

impl<B: Clone> Replay for http::Request<B> {
    fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }
}

/// Makes the copy of a request that a retry sends. [`Replayed`] asks the request itself, and a closure is one too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot copy a `{Req}` to send it again",
    note = "the request has to implement `Replay`, as `reqwest::Request` does, and `http::Request<B>` with `B: Clone`",
    note = "for other requests, `RetryLayer::replay_with` takes a closure; with `|_| None` they are tried once"
)]
pub trait ReplayWith<Req> {
    /// Returns the same request once more, or `None` if that is impossible. Then it is tried once.
    fn replay(&self, request: &Req) -> Option<Req>;
}

/// Copies requests by their own [`Replay`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Replayed;

impl<Req: Replay> ReplayWith<Req> for Replayed {
    #[inline]
    fn replay(&self, request: &Req) -> Option<Req> {
        request.replay()
    }
}

impl<F: Fn(&Req) -> Option<Req>, Req> ReplayWith<Req> for F {
    #[inline]
    fn replay(&self, request: &Req) -> Option<Req> {
        self(request)
    }
}

/// Tries again: exponential backoff, full jitter, a budget. It applies [`tower::retry::Retry`] with a [`RetryPolicy`].
///
/// The wait before retry *n* is 100 ms and a part that is drawn evenly from zero to `base · 2ⁿ⁻¹`
/// ([full jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)), so that clients that failed
/// together do not come back together. Both are capped together. A `Retry-After` is the floor of that wait: no retry comes
/// earlier than the service asked.
///
/// # Why at least 100 ms
///
/// Full jitter alone may retry at once, into the trouble that has just failed the call. PostHog's
/// [contract for its SDKs](https://github.com/PostHog/posthog-sdk-test-harness/blob/main/contracts/capture_tests.yaml)
/// demands 100 ms before the first retry. The wait takes at most half of the cap for it, so a cap below 200 ms lowers it: there
/// is always room for jitter.
///
/// # Why a budget beside the number of attempts
///
/// Attempts bound one call; a budget bounds all of them. Retries never exceed a share of the traffic, so an outage does not
/// multiply the load that may have caused it. The share is 20 % by default, and one retry a second so that a quiet client
/// may retry at all. See [`tower::retry::budget`]. Waits that the service named spend no budget, because it chose the time
/// itself. A call that an open circuit breaker rejected is returned at once and spends neither attempts nor budget.
///
/// # Defaults
///
/// Three attempts, 500 ms doubling to 30 s. Attempts end early on purpose: whoever stands above (in this crate the queue)
/// knows better what to do with a request that failed for long.
///
/// # Clone
///
/// All services that one layer or its clones produce share one budget and one [count of retries](RetryHandle). Attempts are
/// counted for each call alone.
///
/// # Cancel safety
///
/// Dropping the future abandons the attempt or the wait that is in progress, and nothing else.
///
/// # Examples
///
/// ```
/// use posthog_health::Error;
/// use posthog_health::layers::{HttpStatus, RetryConfig, RetryLayer};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example(request: reqwest::Request) -> Result<(), Box<dyn std::error::Error>> {
/// let layer = RetryLayer::new(RetryConfig::default().attempts(5), HttpStatus::default())?;
/// let service = ServiceBuilder::new().layer(layer).map_err(Error::from).service(reqwest::Client::new());
/// let response = service.oneshot(request).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct RetryLayer<C, R = Replayed> {
    policy: RetryPolicy<C, R>,
}

impl<C> RetryLayer<C> {
    /// Makes a new, full budget.
    ///
    /// # Errors
    ///
    /// When a value of `config` is zero or absurd.
    pub fn new(config: RetryConfig, classifier: C) -> Result<Self, ConfigError> {
        config.validate()?;
        let budget = SharedBudget::new(config.share);
        let shared = Arc::new(Shared { config, budget, retries: RetryHandle::default() });
        Ok(Self { policy: RetryPolicy { shared, classifier, replay: Replayed, attempts_made: 0 } })
    }
}

impl<C, R> RetryLayer<C, R> {
    /// Copies requests by a closure and not by their own [`Replay`]. A request for which it returns `None` is tried once.
    ///
    /// ```
    /// use posthog_health::layers::{HttpStatus, RetryConfig, RetryLayer};
    ///
    /// // A body that streams can be sent once. Requests without one can be sent again.
    /// let layer = RetryLayer::new(RetryConfig::default(), HttpStatus::default())?.replay_with(
    ///     |request: &http::Request<Option<std::fs::File>>| {
    ///         request.body().is_none().then(|| {
    ///             let mut copy = http::Request::new(None::<std::fs::File>);
    ///             *copy.method_mut() = request.method().clone();
    ///             *copy.uri_mut() = request.uri().clone();
    ///             *copy.headers_mut() = request.headers().clone();
    ///             copy
    ///         })
    ///     },
    /// );
    /// # let _ = layer;
    /// # Ok::<(), posthog_health::ConfigError>(())
    /// ```
    #[must_use]
    pub fn replay_with<F>(self, replay: F) -> RetryLayer<C, F> {
        let RetryPolicy { shared, classifier, attempts_made, .. } = self.policy;
        RetryLayer { policy: RetryPolicy { shared, classifier, replay, attempts_made } }
    }

    /// Returns a handle that reads the count of retries.
    pub fn handle(&self) -> RetryHandle {
        self.policy.shared.retries.clone()
    }
}

impl<S, C: Clone, R: Clone> Layer<S> for RetryLayer<C, R> {
    type Service = Retry<RetryPolicy<C, R>, S>;

    fn layer(&self, service: S) -> Self::Service {
        Retry::new(self.policy.clone(), service)
    }
}

/// Reads how often calls were retried, by all services that a [`RetryLayer`] and its clones produce.
/// [`RetryLayer::handle`] returns it.
#[derive(Clone, Debug, Default)]
pub struct RetryHandle(Arc<AtomicU64>);

impl RetryHandle {
    /// Returns the number of attempts after the first of each call.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Decides whether to try again and how long to wait before, as a [`tower::retry::Policy`]. [`RetryLayer`] makes it.
#[derive(Clone, Debug)]
pub struct RetryPolicy<C, R = Replayed> {
    shared: Arc<Shared>,
    classifier: C,
    replay: R,
    attempts_made: u32,
}

/// Behind one `Arc`, because each call clones the policy.
#[derive(Debug)]
struct Shared {
    config: RetryConfig,
    budget: SharedBudget,
    retries: RetryHandle,
}

impl<C, R, Req, Res, Err> Policy<Req, Res, Err> for RetryPolicy<C, R>
where
    C: Classify<Res, Err>,
    R: ReplayWith<Req>,
{
    type Future = Sleep;

    #[inline]
    fn retry(&mut self, _request: &mut Req, result: &mut Result<Res, Err>) -> Option<Sleep> {
        let hint = match self.classifier.classify(result.as_ref()) {
            Verdict::Throttled { retry_after } | Verdict::Failed { retry_after } => retry_after,
            Verdict::Success => {
                self.shared.budget.deposit();
                return None;
            }
            Verdict::Refused | Verdict::NotAttempted => return None,
        };
        self.attempts_made += 1;
        if self.attempts_made >= self.shared.config.attempts {
            return None;
        }
        if hint.is_none() && !self.shared.budget.withdraw() {
            tracing::debug!(target: target::LAYERS, "no retry: the budget is spent");
            return None;
        }
        let wait = self.wait(hint);
        self.shared.retries.0.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(target: target::LAYERS, attempt = self.attempts_made + 1, ?wait, "retrying");
        Some(sleep(wait))
    }

    #[inline]
    fn clone_request(&mut self, request: &Req) -> Option<Req> {
        self.replay.replay(request)
    }
}

impl<C, R> RetryPolicy<C, R> {
    /// The backoff above its floor, and never less than the hint. Clients that were given the same hint are spread by a first
    /// backoff on top of it.
    fn wait(&self, hint: Option<Duration>) -> Duration {
        let RetryConfig { base, cap, .. } = self.shared.config;
        let backoff = backoff(base, cap, self.attempts_made - 1, fastrand::f64());
        match hint {
            Some(hint) => backoff.max(hint.saturating_add(full_jitter(base, cap, 0, fastrand::f64()))),
            None => backoff,
        }
    }
}

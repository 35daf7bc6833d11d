//! Shows attempts to an observer. The docs are those of [`ObserveLayer`].

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

/// Sees attempts.
pub trait Observe<Res, Err> {
    /// An attempt ended.
    fn attempt(&self, latency: Duration, result: Result<&Res, &Err>);

    /// An attempt's future was dropped before its end.
    fn abandoned(&self, _after: Duration) {}
}

/// Shows each attempt's latency and result to an [`Observe`]r, and changes nothing.
///
/// Put it below [retry](super::RetryLayer) and the [circuit breaker](super::CircuitBreakerLayer), so that it sees attempts
/// and not calls, and outside a timeout, so that it sees timeouts.
///
/// # Clone
///
/// The observer is cloned with the service. What clones share is the observer's decision; usually it holds an `Arc`.
///
/// # Cancel safety
///
/// An attempt whose future is dropped before it is done is reported to [`Observe::abandoned`], so that started attempts
/// always equal finished plus abandoned ones.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use posthog_health::layers::{Observe, ObserveLayer};
///
/// #[derive(Clone)]
/// struct Print;
///
/// impl Observe<reqwest::Response, reqwest::Error> for Print {
///     fn attempt(&self, latency: Duration, result: Result<&reqwest::Response, &reqwest::Error>) {
///         println!("{:?} after {latency:?}", result.map(|response| response.status()));
///     }
/// }
///
/// let service = tower::ServiceBuilder::new().layer(ObserveLayer::new(Print)).service(reqwest::Client::new());
/// ```
#[derive(Clone, Debug)]
pub struct ObserveLayer<O> {
    observer: O,
}

impl<O> ObserveLayer<O> {
    /// Shows attempts to `observer`.
    pub fn new(observer: O) -> Self {
        Self { observer }
    }
}

impl<S, O: Clone> Layer<S> for ObserveLayer<O> {
    type Service = Observed<S, O>;

    fn layer(&self, service: S) -> Self::Service {
        Observed { service, observer: self.observer.clone() }
    }
}

/// A service whose attempts are shown to an observer, made by [`ObserveLayer`].
#[derive(Clone, Debug)]
pub struct Observed<S, O> {
    service: S,
    observer: O,
}

impl<S, O, Req> Service<Req> for Observed<S, O>
where
    S: Service<Req>,
    O: Observe<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ObservedFuture<S::Future, O, S::Response, S::Error>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let pending = Pending {
            started: Instant::now(),
            observer: self.observer.clone(),
            done: false,
            _of: PhantomData,
        };
        ObservedFuture { future: self.service.call(request), pending }
    }
}

pin_project! {
    /// The response of an [`Observed`] service.
    pub struct ObservedFuture<F, O, Res, Err> where O: Observe<Res, Err> {
        #[pin]
        future: F,
        pending: Pending<O, Res, Err>,
    }
}

struct Pending<O: Observe<Res, Err>, Res, Err> {
    started: Instant,
    observer: O,
    done: bool,
    _of: PhantomData<fn(Res, Err)>,
}

impl<O: Observe<Res, Err>, Res, Err> Drop for Pending<O, Res, Err> {
    fn drop(&mut self) {
        if !self.done {
            self.observer.abandoned(self.started.elapsed());
        }
    }
}

impl<F, O, Res, Err> Future for ObservedFuture<F, O, Res, Err>
where
    F: Future<Output = Result<Res, Err>>,
    O: Observe<Res, Err>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        this.pending.done = true;
        this.pending.observer.attempt(this.pending.started.elapsed(), result.as_ref());
        Poll::Ready(result)
    }
}

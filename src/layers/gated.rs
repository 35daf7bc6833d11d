use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::Service;

use super::{Classify, Verdict};

/// The right to make one call, given by a gate: the circuit breaker or the rate limit. If it is dropped without
/// [`settle`](Self::settle), the gate learns nothing from the call.
pub trait Pass {
    /// Reports the call's result to the gate. It is called once, because a pass is for one call.
    fn settle(&mut self, verdict: Verdict);
}

/// A pass that is still to come.
pub(super) type Waiting<P> = Pin<Box<dyn Future<Output = P> + Send>>;

pin_project! {
    /// The response of a [`CircuitBreaker`](super::CircuitBreaker) or a [`RateLimit`](super::RateLimit). It waits for a
    /// pass, calls the service, and reports the result.
    pub struct GatedFuture<S, P, C, Req> where S: Service<Req> {
        #[pin]
        state: GatedState<S, S::Future, S::Error, P, Req>,
        classifier: C,
    }
}

pin_project! {
    #[project = GatedStateProj]
    enum GatedState<S, F, E, P, Req> {
        Rejected { error: Option<E> },
        // Boxed, so that calls that need not wait do not carry room for a service and a request along.
        Waiting { call: Option<Box<(S, Req)>>, pass: Waiting<P> },
        Called { #[pin] future: F, pass: P },
    }
}

impl<S: Service<Req>, P, C, Req> GatedFuture<S, P, C, Req> {
    #[inline]
    pub(super) fn rejected(error: S::Error, classifier: C) -> Self {
        Self { state: GatedState::Rejected { error: Some(error) }, classifier }
    }

    #[inline]
    pub(super) fn called(future: S::Future, pass: P, classifier: C) -> Self {
        Self { state: GatedState::Called { future, pass }, classifier }
    }

    /// Takes the service that was polled ready, and leaves its clone in its place: a clone need not be ready.
    pub(super) fn waiting(service: &mut S, request: Req, pass: Waiting<P>, classifier: C) -> Self
    where
        S: Clone,
    {
        let clone = service.clone();
        let ready = std::mem::replace(service, clone);
        Self { state: GatedState::Waiting { call: Some(Box::new((ready, request))), pass }, classifier }
    }
}

impl<S, P, C, Req> Future for GatedFuture<S, P, C, Req>
where
    S: Service<Req>,
    P: Pass,
    C: Classify<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    // `always`, because left to itself the compiler decides by the size of the pass, and a call through the rate limit costs
    // 15 % more when it decides against it (`.ci/instructions`).
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                GatedStateProj::Called { future, pass } => {
                    let result = ready!(future.poll(cx));
                    pass.settle(this.classifier.classify(result.as_ref()));
                    return Poll::Ready(result);
                }
                GatedStateProj::Rejected { error } => {
                    return error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
                }
                GatedStateProj::Waiting { call, pass } => {
                    let (future, pass) = ready!(call_with_pass(call, pass, cx));
                    this.state.set(GatedState::Called { future, pass });
                }
            }
        }
    }
}

/// Calls the service once the pass is there. It is a function of its own, so that the poll of a call that passes at once
/// stays small enough to be inlined.
#[cold]
fn call_with_pass<S: Service<Req>, P, Req>(
    call: &mut Option<Box<(S, Req)>>,
    pass: &mut Waiting<P>,
    cx: &mut Context<'_>,
) -> Poll<(S::Future, P)> {
    let pass = ready!(pass.as_mut().poll(cx));
    let Some(call) = call.take() else { return Poll::Pending };
    let (mut service, request) = *call;
    Poll::Ready((service.call(request), pass))
}

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::Service;

use super::{Classify, Verdict};

/// The right to make one call, given by a gate. Dropped without [`settle`](Self::settle), the call taught
/// the gate nothing.
pub trait Pass {
    /// Tells the gate what became of the call.
    fn settle(self, verdict: Verdict);
}

/// A pass that is still to come.
pub(super) type Waiting<P> = Pin<Box<dyn Future<Output = P> + Send>>;

pin_project! {
    /// The response of a service behind a gate: it waits for a pass, calls, and tells the gate the result.
    pub struct ResponseFuture<S, P, C, Req> where S: Service<Req> {
        #[pin]
        state: State<S, S::Future, S::Error, P, Req>,
        classifier: C,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, E, P, Req> {
        Rejected { error: Option<E> },
        Waiting { call: Option<(S, Req)>, pass: Waiting<P> },
        Called { #[pin] future: F, pass: Option<P> },
    }
}

impl<S: Service<Req>, P, C, Req> ResponseFuture<S, P, C, Req> {
    pub(super) fn rejected(error: S::Error, classifier: C) -> Self {
        Self { state: State::Rejected { error: Some(error) }, classifier }
    }

    pub(super) fn called(future: S::Future, pass: P, classifier: C) -> Self {
        Self { state: State::Called { future, pass: Some(pass) }, classifier }
    }

    /// Takes the service that was polled ready, and leaves its clone in its place.
    pub(super) fn waiting(service: &mut S, request: Req, pass: Waiting<P>, classifier: C) -> Self
    where
        S: Clone,
    {
        let clone = service.clone();
        let ready = std::mem::replace(service, clone);
        Self { state: State::Waiting { call: Some((ready, request)), pass }, classifier }
    }
}

impl<S, P, C, Req> Future for ResponseFuture<S, P, C, Req>
where
    S: Service<Req>,
    P: Pass,
    C: Classify<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Rejected { error } => {
                    return error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
                }
                StateProj::Waiting { call, pass } => {
                    let pass = Some(ready!(pass.as_mut().poll(cx)));
                    let Some((mut service, request)) = call.take() else {
                        return Poll::Pending;
                    };
                    this.state.set(State::Called { future: service.call(request), pass });
                }
                StateProj::Called { future, pass } => {
                    let result = ready!(future.poll(cx));
                    if let Some(pass) = pass.take() {
                        pass.settle(this.classifier.classify(result.as_ref()));
                    }
                    return Poll::Ready(result);
                }
            }
        }
    }
}

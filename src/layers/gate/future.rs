use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::Service;

use super::turn::Stop;
use super::{Gate, Pass, Turn};
use crate::layers::Classify;

pin_project! {
    /// The response of a [`CircuitBreaker`](crate::layers::CircuitBreaker) or a [`RateLimit`](crate::layers::RateLimit). It waits
    /// for a pass if it must, calls the service, and reports the result.
    pub struct GatedFuture<S, G, C, Req> where S: Service<Req>, G: Gate {
        #[pin]
        state: GatedState<S, S::Future, S::Error, G, G::Pass, Req>,
        classifier: C,
    }
}

pin_project! {
    #[project = GatedStateProj]
    enum GatedState<S, F, E, G, P, Req> where G: Gate {
        Rejected { error: Option<E> },
        // Boxed, so that calls that need not wait do not carry room for a service and a request along.
        Waiting { call: Box<Call<S, G, Req>> },
        Called { #[pin] future: F, pass: P },
    }
}

/// A call that waits for its turn.
struct Call<S, G: Gate, Req> {
    service: S,
    gate: G,
    request: Option<Req>,
    turn: Turn<G>,
}

/// A call that has begun, and its pass.
type Called<S, G, Req> = Result<(<S as Service<Req>>::Future, <G as Gate>::Pass), <S as Service<Req>>::Error>;

impl<S: Service<Req>, G: Gate, C, Req> GatedFuture<S, G, C, Req> {
    #[inline]
    pub(super) fn rejected(error: S::Error, classifier: C) -> Self {
        Self { state: GatedState::Rejected { error: Some(error) }, classifier }
    }

    #[inline]
    pub(super) fn called(future: S::Future, pass: G::Pass, classifier: C) -> Self {
        Self { state: GatedState::Called { future, pass }, classifier }
    }

    /// Takes a service that need not be ready.
    pub(super) fn waiting(service: S, gate: G, request: Req, classifier: C) -> Self {
        let call = Call { service, gate, request: Some(request), turn: Turn::new(None) };
        Self { state: GatedState::Waiting { call: Box::new(call) }, classifier }
    }
}

impl<S, G, C, Req> Future for GatedFuture<S, G, C, Req>
where
    S: Service<Req> + Clone,
    S::Error: From<G::Rejected>,
    G: Gate,
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
                GatedStateProj::Waiting { call } => match ready!(call.poll(this.classifier, cx)) {
                    Ok((future, pass)) => this.state.set(GatedState::Called { future, pass }),
                    Err(error) => return Poll::Ready(Err(error)),
                },
            }
        }
    }
}

impl<S, G: Gate, Req> Call<S, G, Req> {
    /// Calls the service when it is this call's turn. It is a function of its own, so that the poll of a call that passes at
    /// once stays small enough to be inlined.
    #[cold]
    fn poll<C>(&mut self, classifier: &C, cx: &mut Context<'_>) -> Poll<Called<S, G, Req>>
    where
        S: Service<Req> + Clone,
        S::Error: From<G::Rejected>,
        C: Classify<S::Response, S::Error>,
    {
        loop {
            match ready!(self.turn.poll(&self.gate, &mut self.service, classifier, cx)) {
                Ok(()) => {}
                Err(Stop::Expired) => {
                    // It waits again, and must not be in line for the service meanwhile.
                    self.service = self.service.clone();
                    continue;
                }
                Err(Stop::Failed(error)) => return Poll::Ready(Err(error)),
                Err(Stop::Rejected(rejected)) => {
                    self.gate.count_rejected();
                    return Poll::Ready(Err(rejected.into()));
                }
            }
            let turn = std::mem::replace(&mut self.turn, Turn::new(None));
            // It was current a moment ago, and is not parked.
            let Some(pass) = turn.into_pass() else { continue };
            let Some(request) = self.request.take() else { return Poll::Pending };
            return Poll::Ready(Ok((self.service.call(request), pass)));
        }
    }
}

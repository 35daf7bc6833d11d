use std::fmt::{self, Debug, Formatter};
use std::mem;
use std::task::{Context, Poll, ready};

use tower::Service;

use super::turn::Stop;
use super::{Gate, GatedFuture, Signal, Turn, WaitIn, poll_changed};
use crate::layers::Classify;

/// A service behind a gate.
pub struct Gated<S, G: Gate, C> {
    service: S,
    gate: G,
    classifier: C,
    next: Next<G>,
}

/// What is decided about the next call. It is small, because each clone and each move of the service takes it along.
enum Next<G: Gate> {
    /// Nothing: `call` decides.
    Undecided,
    /// Nothing: `call` decides. The service is ready, and may have reserved something for it.
    Ready,
    /// Nothing, and the service is not ready. The signal tells that the gate has to decide.
    Busy(Option<Signal>),
    /// It has its turn, and waits in `poll_ready` or has a pass.
    Turn(Box<Turn<G>>),
    /// It is rejected.
    Rejected(G::Rejected),
    /// It will wait for its turn in its future.
    Waits,
}

impl<S, G: Gate, C> Gated<S, G, C> {
    pub fn new(service: S, gate: G, classifier: C) -> Self {
        Self { service, gate, classifier, next: Next::Undecided }
    }
}

/// A clone is a handle of its own: nothing is decided for it.
impl<S: Clone, G: Gate, C: Clone> Clone for Gated<S, G, C> {
    fn clone(&self) -> Self {
        Self::new(self.service.clone(), self.gate.clone(), self.classifier.clone())
    }
}

impl<S: Debug, G: Gate + Debug, C: Debug> Debug for Gated<S, G, C> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { service, gate, classifier, .. } = self;
        f.debug_struct("Gated")
            .field("service", service)
            .field("gate", gate)
            .field("classifier", classifier)
            .finish_non_exhaustive()
    }
}

impl<S, G, C> Gated<S, G, C>
where
    S: Clone,
    G: Gate,
    C: Clone,
{
    /// The gate decides first, then the service is asked.
    #[inline]
    pub fn poll_ready<Req>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>>
    where
        S: Service<Req>,
        C: Classify<S::Response, S::Error>,
    {
        if matches!(self.next, Next::Undecided | Next::Ready) && self.gate.decides_in_call() {
            let polled = self.service.poll_ready(cx);
            if matches!(polled, Poll::Ready(Ok(()))) {
                self.next = Next::Ready;
                return polled;
            }
            if ready!(self.not_ready(polled, cx))? {
                return Poll::Ready(Ok(()));
            }
        }
        self.decide(cx)
    }

    /// The service is not ready. Returns false once the gate has to decide anew.
    #[cold]
    fn not_ready<Req>(
        &mut self,
        polled: Poll<Result<(), S::Error>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, S::Error>>
    where
        S: Service<Req>,
        C: Classify<S::Response, S::Error>,
    {
        match polled {
            Poll::Ready(Ok(())) => {
                self.next = Next::Ready;
                Poll::Ready(Ok(true))
            }
            Poll::Ready(Err(error)) => {
                self.next = Next::Undecided;
                self.gate.observe(self.classifier.classify(Err(&error)));
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                let mut signal = match mem::replace(&mut self.next, Next::Undecided) {
                    Next::Busy(signal) => signal,
                    _ => None,
                };
                let changed = poll_changed(&mut signal, &self.gate, None, cx);
                self.next = Next::Busy(signal);
                changed.map(|()| Ok(false))
            }
        }
    }

    #[cold]
    fn decide<Req>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>>
    where
        S: Service<Req>,
        C: Classify<S::Response, S::Error>,
    {
        if matches!(self.next, Next::Rejected(_) | Next::Waits) {
            self.next = Next::Undecided;
        }
        loop {
            match &mut self.next {
                Next::Undecided | Next::Ready | Next::Busy(_) if self.gate.decides_in_call() => {
                    let polled = self.service.poll_ready(cx);
                    if ready!(self.not_ready(polled, cx))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Next::Undecided | Next::Ready | Next::Busy(_) => {
                    let wait_in = self.gate.wait_in();
                    let pass = self.gate.pass();
                    let next = match pass {
                        Ok(pass) => Next::Turn(Box::new(Turn::new(Some(pass)))),
                        Err(rejected) if wait_in.is_none() => Next::Rejected(rejected),
                        Err(_) if wait_in == Some(WaitIn::Call) => Next::Waits,
                        Err(_) => Next::Turn(Box::new(Turn::new(None))),
                    };
                    let is_polled = !matches!(self.next, Next::Undecided);
                    if self.decided(next, is_polled) {
                        return Poll::Ready(Ok(()));
                    }
                }
                Next::Turn(turn) => {
                    match ready!(turn.poll(&self.gate, &mut self.service, &self.classifier, cx)) {
                        Ok(()) => {
                            turn.park();
                            return Poll::Ready(Ok(()));
                        }
                        Err(Stop::Expired) => self.next = Next::Busy(None),
                        Err(Stop::Rejected(rejected)) => {
                            let is_polled = turn.is_polled;
                            self.decided(Next::Rejected(rejected), is_polled);
                            return Poll::Ready(Ok(()));
                        }
                        Err(Stop::Failed(error)) => {
                            self.next = Next::Undecided;
                            return Poll::Ready(Err(error));
                        }
                    }
                }
                Next::Rejected(_) | Next::Waits => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Goes on with the next call. Returns true if it does not reach the service, which then keeps nothing for it.
    fn decided(&mut self, next: Next<G>, is_polled: bool) -> bool {
        let ends = matches!(next, Next::Rejected(_) | Next::Waits);
        self.next = next;
        if ends && is_polled {
            self.release();
        }
        ends
    }

    /// Gives back what the service has reserved. Only dropping it does that, and a clone reserves nothing.
    fn release(&mut self) {
        self.service = self.service.clone();
    }

    // `always`, as in `GatedFuture::poll`.
    #[inline(always)]
    pub fn call<Req>(&mut self, request: Req) -> GatedFuture<S, G, C, Req>
    where
        S: Service<Req>,
        S::Error: From<G::Rejected>,
    {
        if !matches!(self.next, Next::Undecided | Next::Ready) {
            return self.call_as_decided(request);
        }
        self.next = Next::Undecided;
        match self.gate.pass() {
            Ok(pass) => GatedFuture::called(self.service.call(request), pass, self.classifier.clone()),
            Err(rejected) => self.refuse(request, rejected),
        }
    }

    #[cold]
    fn call_as_decided<Req>(&mut self, request: Req) -> GatedFuture<S, G, C, Req>
    where
        S: Service<Req>,
        S::Error: From<G::Rejected>,
    {
        let pass = match mem::replace(&mut self.next, Next::Undecided) {
            Next::Rejected(rejected) => return self.reject(rejected),
            Next::Waits => return self.wait(request),
            Next::Turn(turn) => turn.into_pass(),
            Next::Undecided | Next::Ready | Next::Busy(_) => None,
        };
        match pass.map_or_else(|| self.gate.pass(), Ok) {
            Ok(pass) => GatedFuture::called(self.service.call(request), pass, self.classifier.clone()),
            Err(rejected) => self.refuse(request, rejected),
        }
    }

    /// The service is ready, and the call may not pass.
    #[cold]
    fn refuse<Req>(&mut self, request: Req, rejected: G::Rejected) -> GatedFuture<S, G, C, Req>
    where
        S: Service<Req>,
        S::Error: From<G::Rejected>,
    {
        self.release();
        if self.gate.wait_in().is_some() { self.wait(request) } else { self.reject(rejected) }
    }

    fn reject<Req>(&mut self, rejected: G::Rejected) -> GatedFuture<S, G, C, Req>
    where
        S: Service<Req>,
        S::Error: From<G::Rejected>,
    {
        self.gate.count_rejected();
        GatedFuture::rejected(rejected.into(), self.classifier.clone())
    }

    fn wait<Req>(&mut self, request: Req) -> GatedFuture<S, G, C, Req>
    where
        S: Service<Req>,
    {
        GatedFuture::waiting(self.service.clone(), self.gate.clone(), request, self.classifier.clone())
    }
}

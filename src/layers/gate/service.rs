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
    next: Next<G::Rejected>,
    /// There while `next` says so. Boxed, because each clone and each move of the service takes it along.
    slow: Option<Box<Slow<G>>>,
}

/// What is decided about the next call. It owns nothing, so that a call that passes at once has nothing to drop.
#[derive(Clone, Copy)]
enum Next<R> {
    /// Nothing: `call` decides.
    Undecided,
    /// Nothing: `call` decides. The service is ready, and may have reserved something for it.
    Ready,
    /// It is rejected.
    Rejected(R),
    /// It will wait for its turn in its future.
    Waits,
    /// See there.
    Slow,
}

enum Slow<G: Gate> {
    /// `call` decides, and the service is not ready. The signal tells that the gate has to decide.
    Busy(Option<Signal>),
    /// The call has its turn, and waits in `poll_ready` or has a pass.
    Turn(Turn<G>),
}

impl<S, G: Gate, C> Gated<S, G, C> {
    pub fn new(service: S, gate: G, classifier: C) -> Self {
        Self { service, gate, classifier, next: Next::Undecided, slow: None }
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
                (self.next, self.slow) = (Next::Ready, None);
                Poll::Ready(Ok(true))
            }
            Poll::Ready(Err(error)) => {
                (self.next, self.slow) = (Next::Undecided, None);
                self.gate.observe(self.classifier.classify(Err(&error)));
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                self.next = Next::Slow;
                match &mut **self.slow.get_or_insert_with(|| Box::new(Slow::Busy(None))) {
                    Slow::Busy(signal) => poll_changed(signal, &self.gate, None, cx).map(|()| Ok(false)),
                    Slow::Turn(_) => Poll::Pending,
                }
            }
        }
    }

    #[cold]
    fn decide<Req>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>>
    where
        S: Service<Req>,
        C: Classify<S::Response, S::Error>,
    {
        loop {
            if let Some(Slow::Turn(turn)) = self.slow.as_deref_mut() {
                match ready!(turn.poll(&self.gate, &mut self.service, &self.classifier, cx)) {
                    Ok(()) => {
                        turn.park();
                        return Poll::Ready(Ok(()));
                    }
                    Err(Stop::Expired) => self.slow = Some(Box::new(Slow::Busy(None))),
                    // It had no pass, so the service was not asked.
                    Err(Stop::Rejected(rejected)) => {
                        (self.next, self.slow) = (Next::Rejected(rejected), None);
                        return Poll::Ready(Ok(()));
                    }
                    Err(Stop::Failed(error)) => {
                        (self.next, self.slow) = (Next::Undecided, None);
                        return Poll::Ready(Err(error));
                    }
                }
            } else if self.gate.decides_in_call() {
                let polled = self.service.poll_ready(cx);
                if ready!(self.not_ready(polled, cx))? {
                    return Poll::Ready(Ok(()));
                }
            } else {
                // Whether the call waits or is rejected, it must not hold what others wait for, or be in line for it.
                if matches!(self.next, Next::Ready | Next::Slow) {
                    self.release();
                }
                let pass = match (self.gate.pass(), self.gate.wait_in()) {
                    (Ok(pass), _) => Some(pass),
                    (Err(_), Some(WaitIn::PollReady)) => None,
                    (Err(_), Some(WaitIn::Call)) => {
                        self.next = Next::Waits;
                        return Poll::Ready(Ok(()));
                    }
                    (Err(rejected), None) => {
                        self.next = Next::Rejected(rejected);
                        return Poll::Ready(Ok(()));
                    }
                };
                self.next = Next::Slow;
                self.slow = Some(Box::new(Slow::Turn(Turn::new(pass))));
            }
        }
    }

    /// Gives back what the service has reserved. Only dropping it does that, and a clone reserves nothing.
    fn release(&mut self) {
        self.service = self.service.clone();
        (self.next, self.slow) = (Next::Undecided, None);
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
        let slow = self.slow.take();
        match mem::replace(&mut self.next, Next::Undecided) {
            Next::Rejected(rejected) => return self.reject(rejected),
            Next::Waits => return self.wait(request),
            Next::Undecided | Next::Ready | Next::Slow => {}
        }
        let pass = match slow.map(|slow| *slow) {
            Some(Slow::Turn(turn)) => turn.into_pass(),
            Some(Slow::Busy(_)) | None => None,
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

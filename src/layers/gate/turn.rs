use std::task::{Context, Poll, ready};

use tower::Service;

use super::{Gate, Pass, Signal, Waiting, poll_changed};
use crate::layers::Classify;

/// The way of one call: it takes or waits for a pass, and then waits until the service is ready.
pub struct Turn<G: Gate> {
    pass: Option<G::Pass>,
    waiting: Option<Waiting<G>>,
    changed: Option<Signal>,
}

/// Why a call goes no further.
pub enum Stop<R, E> {
    /// The gate rejects it.
    Rejected(R),
    /// The service will not become ready.
    Failed(E),
    /// The pass has expired while the service was not ready.
    Expired,
}

/// Whether the call may be made.
pub type Turned<G, E> = Result<(), Stop<<G as Gate>::Rejected, E>>;

impl<G: Gate> Turn<G> {
    pub fn new(pass: Option<G::Pass>) -> Self {
        Self { pass, waiting: None, changed: None }
    }

    /// Goes on until the pass is there and the service is ready.
    pub fn poll<S, C, Req>(
        &mut self,
        gate: &G,
        service: &mut S,
        classifier: &C,
        cx: &mut Context<'_>,
    ) -> Poll<Turned<G, S::Error>>
    where
        S: Service<Req>,
        C: Classify<S::Response, S::Error>,
    {
        loop {
            let Some(pass) = &mut self.pass else {
                match ready!(self.poll_pass(gate, cx)) {
                    Ok(pass) => self.pass = Some(pass),
                    Err(rejected) => return Poll::Ready(Err(Stop::Rejected(rejected))),
                }
                continue;
            };
            if !pass.is_current() {
                self.pass = None;
                return Poll::Ready(Err(Stop::Expired));
            }
            match service.poll_ready(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => {
                    pass.settle(classifier.classify(Err(&error)));
                    self.pass = None;
                    return Poll::Ready(Err(Stop::Failed(error)));
                }
                Poll::Pending => ready!(poll_changed(&mut self.changed, gate, Some(pass), cx)),
            }
        }
    }

    fn poll_pass(&mut self, gate: &G, cx: &mut Context<'_>) -> Poll<Result<G::Pass, G::Rejected>> {
        if self.waiting.is_none() {
            match gate.pass() {
                Err(_) if gate.wait_in().is_some() => {}
                decided => return Poll::Ready(decided),
            }
        }
        let result = ready!(self.waiting.get_or_insert_with(|| gate.wait()).as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(result)
    }

    /// Keeps the pass while the caller takes its time.
    pub fn park(&mut self) {
        if let Some(pass) = &mut self.pass {
            pass.park();
        }
    }

    /// Returns the pass for the call, unless it has expired.
    pub fn into_pass(self) -> Option<G::Pass> {
        let mut pass = self.pass?;
        pass.unpark().then_some(pass)
    }
}

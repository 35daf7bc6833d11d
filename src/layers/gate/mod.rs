//! What the circuit breaker and the rate limit have in common: a gate before a service.
//!
//! A [`Gate`] decides which calls pass. [`Gated`] is the service behind it, with tower's contract: what `poll_ready` decides
//! holds in `call`, and a call that does not go through keeps nothing of what the inner service has reserved. [`Turn`] is
//! the way of one call: first the gate, then the service.

mod future;
mod service;
mod turn;

use std::pin::Pin;
use std::task::{Context, Poll};

pub use future::GatedFuture;
pub use service::Gated;
pub use turn::Turn;

use super::Verdict;

/// Where a call waits that may not pass yet.
///
/// - **`Call`**: the service is ready, and the call's future waits. Each caller waits on its own, in order of arrival, and
///   holds no reservation meanwhile. Bound the number of callers, because nothing tells them to stop. `LoadShed` above sheds
///   nothing, `Buffer` above starts all its calls, and `Balance` above sends calls to an endpoint that makes them wait.
/// - **`PollReady`**: the service is not ready, which is tower's backpressure. `LoadShed` above sheds, `Buffer` above keeps
///   its calls, and `Balance` above takes another endpoint. `Ready` means that the gate has reserved a pass for this handle: a
///   token, or the permit of a probe. So a handle that is polled ready, and dropped before its call, costs others a token. A
///   handle that stays idle after `Ready` loses the reservation after a bound, and its call then waits in its future.
///
/// Both wait by tokio's timers, so they need its runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitIn {
    /// In the future that `call` returns.
    Call,
    /// In `poll_ready`.
    PollReady,
}

/// Decides which calls pass.
pub trait Gate: Clone {
    /// The right to make one call.
    type Pass: Pass;
    /// Why a call does not pass.
    type Rejected: Copy;

    /// Whether `poll_ready` asks only the service, because `call` decides.
    fn decides_in_call(&self) -> bool;

    /// Lets a call pass, or says why not.
    fn pass(&self) -> Result<Self::Pass, Self::Rejected>;

    /// Where calls wait, or `None` if they are rejected.
    fn wait_in(&self) -> Option<WaitIn>;

    /// Waits for a pass. The gate may reject a call that waits for too long.
    fn wait(&self) -> Waiting<Self>;

    /// Completes when the decision about a call that waits for the service no longer holds. `None`: it holds.
    fn changed(&self, pass: Option<&Self::Pass>) -> Option<Signal>;

    /// Learns from an error of the service's `poll_ready` that no pass stands for.
    fn observe(&self, verdict: Verdict);

    /// Counts a call that is rejected.
    fn count_rejected(&self);
}

/// The right to make one call. If it is dropped without [`settle`](Self::settle), the gate learns nothing from the call.
pub trait Pass {
    /// Reports the call's result to the gate. It is called once, because a pass is for one call.
    fn settle(&mut self, verdict: Verdict);

    /// The service is ready, and the caller may take its time until the call.
    fn park(&mut self);

    /// The call is made. Returns false if the pass has expired meanwhile.
    fn unpark(&mut self) -> bool;

    /// Whether the gate would still give it.
    fn is_current(&self) -> bool;
}

/// A pass that is still to come.
pub type Waiting<G> =
    Pin<Box<dyn Future<Output = Result<<G as Gate>::Pass, <G as Gate>::Rejected>> + Send + Sync>>;

/// Something that will happen.
pub type Signal = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Polls the signal that the decision about a call has changed, while the service is not ready.
fn poll_changed<G: Gate>(
    signal: &mut Option<Signal>,
    gate: &G,
    pass: Option<&G::Pass>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if signal.is_none() {
        *signal = gate.changed(pass);
    }
    let Some(changed) = signal else { return Poll::Pending };
    let polled = changed.as_mut().poll(cx);
    if polled.is_ready() {
        *signal = None;
    }
    polled
}

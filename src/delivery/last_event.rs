use std::pin::pin;
use std::time::{Duration, Instant};

use posthog_rs::Event;

#[cfg(feature = "spool")]
use super::ledger::DropReason;
use super::producer::Producer;
#[cfg(feature = "spool")]
use super::queue::SpoolState;
use crate::layers::{CircuitBreakerHandle, CircuitState};
use crate::rt::block_within;

/// How long the SDK's panic hook waits for the event before the process may end.
const LONGEST: Duration = Duration::from_secs(2);

/// How often to look whether the event can still be delivered. A worker that is driven answers sooner.
const LOOK: Duration = Duration::from_millis(250);

impl Producer {
    /// Captures an event after which the process may end. Blocks the thread for 2 s at most: with a spool that works until
    /// the event is on disk, otherwise until it has met its end, as long as it can.
    pub fn capture_last(&self, event: Event, breaker: &CircuitBreakerHandle) {
        let deadline = Instant::now() + LONGEST;
        if self.capture_stored(&event, deadline) {
            self.queue.flush();
            return;
        }
        self.capture_as_is(event);
        let seq = self.queue.flush();
        let mut settled = pin!(self.queue.settled(seq));
        // Twice in a row, because somebody else may have asked just now.
        let mut unanswered = 0;
        while unanswered < 2 && breaker.state() != CircuitState::Open && !self.queue.is_unattended() {
            let look = deadline.min(Instant::now() + LOOK);
            if block_within(look, settled.as_mut()).is_some() || look == deadline {
                return;
            }
            unanswered = if self.queue.owes_an_answer() { unanswered + 1 } else { 0 };
        }
    }

    /// Captures an event and waits until it is on disk. False if a spool that works is missing, so that it was not captured.
    #[cfg(feature = "spool")]
    fn capture_stored(&self, event: &Event, deadline: Instant) -> bool {
        let spool = self.queue.snapshot().spool;
        if spool.is_none_or(|spool| spool.state != SpoolState::Ready) {
            return false;
        }
        let (waiter, told) = tokio::sync::oneshot::channel();
        self.enter(event.clone().into(), || None, Some(waiter));
        // The disk may have begun to fail just now.
        let refused = [DropReason::SpoolUnavailable, DropReason::SpoolFull];
        let told = block_within(deadline, pin!(told));
        !matches!(told, Some(Ok(Err(reason))) if refused.contains(&reason))
    }

    #[cfg(not(feature = "spool"))]
    fn capture_stored(&self, _: &Event, _: Instant) -> bool {
        false
    }
}

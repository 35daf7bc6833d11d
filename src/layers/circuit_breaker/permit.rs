use std::sync::Arc;
use std::time::Duration;

use super::breaker::Shared;
use super::phase::Phase;
use crate::layers::Verdict;
use crate::layers::gated::Pass;

/// The right to make one call.
#[derive(Debug)]
pub struct Permit {
    pub breaker: Arc<Shared>,
    /// The phase in which the breaker gave it.
    pub phase: Phase,
    pub settled: bool,
}

impl Pass for Permit {
    #[inline]
    fn settle(&mut self, verdict: Verdict) {
        self.settled = true;
        self.breaker.settle(self.phase, verdict);
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if !self.settled {
            self.breaker.release(self.phase);
        }
    }
}

/// Added to the wait, so that the timer fires after the moment that the machine compares with.
const TIMER_SLACK: Duration = Duration::from_millis(1);

/// Waits until the breaker lets a call pass.
pub(super) async fn permit(breaker: Arc<Shared>) -> Permit {
    loop {
        // Registered before asking, so that a change in between is not missed.
        let changed = Arc::clone(&breaker.changed).notified_owned();
        tokio::pin!(changed);
        changed.as_mut().enable();
        match breaker.admit() {
            Ok(permit) => return permit,
            Err(open) => match open.retry_in {
                Some(wait) => {
                    let _ = tokio::time::timeout(wait + TIMER_SLACK, changed).await;
                }
                None => changed.await,
            },
        }
    }
}

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::Shared;
use super::phase::Phase;
use crate::layers::Verdict;
use crate::layers::gated::Pass;

/// The right to make one call.
#[derive(Debug)]
pub struct Permit {
    breaker: Arc<Shared>,
    /// In which it was given.
    phase: Phase,
    /// Reading the clock is half of what a call costs, so only where slow calls count.
    since: Option<Instant>,
    settled: bool,
}

impl Permit {
    #[inline]
    pub(super) fn new(breaker: Arc<Shared>, phase: Phase, timed: bool) -> Self {
        Self { breaker, phase, since: timed.then(Instant::now), settled: false }
    }
}

impl Pass for Permit {
    #[inline]
    fn settle(&mut self, verdict: Verdict) {
        self.settled = true;
        let elapsed = self.since.map(|since| since.elapsed());
        self.breaker.settle(self.phase, verdict, elapsed);
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

/// Room for the timer to have passed the moment that the machine compares with.
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

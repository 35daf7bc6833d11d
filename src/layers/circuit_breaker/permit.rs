use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::CircuitState;
use super::breaker::{Closed, Shared};
use super::phase::Phase;
use super::sync::timeout;
use crate::layers::Verdict;
use crate::layers::gate::Pass;

/// The right to make one call.
#[derive(Debug)]
pub struct Permit {
    pub breaker: Arc<Shared>,
    /// The phase in which the breaker gave it.
    pub phase: Phase,
    pub is_settled: bool,
    pub is_parked: bool,
}

impl Permit {
    fn is_probe(&self) -> bool {
        self.phase.state() != CircuitState::Closed
    }
}

impl Pass for Permit {
    #[inline]
    fn settle(&mut self, verdict: Verdict) {
        self.is_settled = true;
        // The service has failed before the call.
        if self.is_parked {
            self.breaker.park_probe(self.phase, false);
        }
        self.breaker.settle(self.phase, verdict);
    }

    fn park(&mut self) {
        if self.is_probe() && !self.is_parked {
            self.is_parked = self.breaker.park_probe(self.phase, true);
        }
    }

    fn unpark(&mut self) -> bool {
        if !self.is_probe() || !self.is_parked {
            return self.is_current();
        }
        let is_current = self.breaker.park_probe(self.phase, false);
        self.is_parked = !is_current;
        is_current
    }

    fn is_current(&self) -> bool {
        self.breaker.is_current(self.phase)
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if !self.is_settled {
            self.breaker.release(self.phase, self.is_parked);
        }
    }
}

/// Added to the wait, so that the timer fires after the moment that the machine compares with.
const TIMER_SLACK: Duration = Duration::from_millis(1);

/// Waits until the breaker lets a call pass.
pub async fn permit(breaker: Arc<Shared>) -> Permit {
    until(Arc::clone(&breaker), move || breaker.admit().map_err(Closed::wait)).await
}

/// Waits until a permit of that phase, or of any closed phase, is not good any more. Without a runtime there is no timer, and
/// whoever asks next finds out.
pub async fn expired(breaker: Arc<Shared>, phase: Option<Phase>) {
    let shared = Arc::clone(&breaker);
    until(shared, move || match phase {
        Some(phase) if breaker.is_current(phase) => {
            Err(breaker.time_left(phase).filter(|_| Handle::try_current().is_ok()))
        }
        None if breaker.state() == CircuitState::Closed => Err(None),
        _ => Ok(()),
    })
    .await;
}

/// Asks at each change of the breaker, and when the time is over that the answer names.
async fn until<T>(breaker: Arc<Shared>, ask: impl Fn() -> Result<T, Option<Duration>>) -> T {
    loop {
        // Registered before asking, so that a change in between is not missed.
        let changed = Arc::clone(&breaker.changed).notified_owned();
        tokio::pin!(changed);
        changed.as_mut().enable();
        match ask() {
            Ok(answer) => return answer,
            Err(Some(wait)) => {
                let _ = timeout(wait + TIMER_SLACK, changed).await;
            }
            Err(None) => changed.await,
        }
    }
}

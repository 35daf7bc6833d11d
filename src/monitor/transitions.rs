use crate::rt::target;

use tokio::sync::broadcast;

use super::{AlertTransition, Severity};

/// As many transitions wait for a slow reader.
const BACKLOG: usize = 256;

/// Tells of each alert that begins or ceases to fire, in the log and to listeners. Clones have the same listeners.
#[derive(Clone, Debug)]
pub(super) struct Transitions {
    /// `None` after the end.
    listeners: Option<broadcast::Sender<AlertTransition>>,
}

impl Transitions {
    pub(super) fn new() -> Self {
        Self { listeners: Some(broadcast::Sender::new(BACKLOG)) }
    }

    /// That nobody listens to any more.
    pub(super) fn ended() -> Self {
        Self { listeners: None }
    }

    pub(super) fn tell(&self, transition: AlertTransition) {
        log(&transition);
        // Without a listener it was logged all the same.
        let _ = self.listeners.as_ref().map(|listeners| listeners.send(transition));
    }

    pub(super) fn subscribe(&self) -> AlertTransitions {
        let listener = self.listeners.as_ref().map(broadcast::Sender::subscribe);
        listener.map_or_else(AlertTransitions::none, AlertTransitions)
    }
}

/// Each transition is one line.
fn log(transition: &AlertTransition) {
    match transition {
        AlertTransition::Firing(alert) if alert.severity == Severity::P1 => {
            tracing::error!(target: target::ALERTS, runbook = alert.runbook, "alert firing: {alert}");
        }
        AlertTransition::Firing(alert) => tracing::warn!(
            target: target::ALERTS,
            runbook = alert.runbook,
            "alert firing: {alert}"
        ),
        AlertTransition::Resolved(alert) => {
            let firing_for = alert.firing_for;
            tracing::warn!(target: target::ALERTS, ?firing_for, "alert resolved: {alert}");
        }
    }
}

/// The alerts' transitions since [`subscribe`](crate::PostHog::subscribe).
#[derive(Debug)]
pub struct AlertTransitions(broadcast::Receiver<AlertTransition>);

#[cfg(test)]
impl AlertTransitions {
    pub(super) fn try_next(&mut self) -> Option<AlertTransition> {
        self.0.try_recv().ok()
    }
}

impl AlertTransitions {
    /// Of a client that has none.
    pub(crate) fn none() -> Self {
        Self(broadcast::channel(1).1)
    }

    /// The next one; `None` when the client or its runtime has ended: what fires then is not told to be resolved. A
    /// reader that falls more than 256 behind misses the
    /// oldest: [`alerts`](crate::PostHog::alerts) tells how it stands.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses none.
    pub async fn next(&mut self) -> Option<AlertTransition> {
        loop {
            match self.0.recv().await {
                Ok(transition) => return Some(transition),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

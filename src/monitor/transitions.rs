use tokio::sync::broadcast;

use super::{AlertTransition, Severity};
use crate::rt::{foreign, target};

/// How many transitions a slow reader may lag behind.
const BACKLOG: usize = 256;

/// Announces each alert that begins or ceases to fire, in the log and to all listeners. Clones share the listeners.
#[derive(Clone, Debug)]
pub struct Transitions {
    /// `None` after the end.
    listeners: Option<broadcast::Sender<AlertTransition>>,
}

impl Transitions {
    pub fn new() -> Self {
        Self { listeners: Some(broadcast::Sender::new(BACKLOG)) }
    }

    /// Returns a value without listeners: streams end, and new ones are over at once.
    pub fn ended() -> Self {
        Self { listeners: None }
    }

    pub fn send(&self, transition: AlertTransition) {
        // A subscriber is foreign code. Whoever listens is told, and the monitor goes on, whatever it does.
        foreign::log(|| log(&transition));
        // Fails without a listener, and then the log line suffices.
        let _ = self.listeners.as_ref().map(|listeners| listeners.send(transition));
    }

    pub fn subscribe(&self) -> AlertTransitions {
        let listener = self.listeners.as_ref().map(broadcast::Sender::subscribe);
        listener.map_or_else(AlertTransitions::none, AlertTransitions)
    }
}

/// Writes one line for each transition.
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

/// A stream of alert transitions, from [`subscribe_alerts`](crate::PostHog::subscribe_alerts).
#[derive(Debug)]
pub struct AlertTransitions(broadcast::Receiver<AlertTransition>);

#[cfg(test)]
impl AlertTransitions {
    pub(crate) fn try_next(&mut self) -> Option<AlertTransition> {
        self.0.try_recv().ok()
    }
}

impl AlertTransitions {
    /// Returns a stream that is over: that of a client that is disabled or has ended.
    pub(crate) fn none() -> Self {
        Self(broadcast::channel(1).1)
    }

    /// Waits for the next transition. Returns `None` when the client or its runtime has ended; alerts that fire then are
    /// not reported as resolved.
    ///
    /// A reader that falls more than 256 transitions behind misses the oldest ones.
    /// [`alerts`](crate::PostHog::alerts) returns the present state.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no transition.
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

use std::time::Duration;

use tokio::time::Instant;

use super::rules::{Condition, Strength};
use super::{Alert, AlertName, AlertTransition, AlertsConfig, Severity, Surface};

/// Which alerts fire. An alert stays until it has had no reason for a while.
#[derive(Debug, Default)]
pub(super) struct Board {
    firing: Vec<Firing>,
}

#[derive(Debug)]
struct Firing {
    surface: Surface,
    name: AlertName,
    severity: Severity,
    since: Instant,
    last_reason: Instant,
    detail: String,
}

impl Board {
    /// Takes note of the reasons that there are now, and tells what changes.
    pub(super) fn update(
        &mut self,
        now: Instant,
        reasons: Vec<Condition>,
        config: &AlertsConfig,
    ) -> Vec<AlertTransition> {
        let mut transitions = Vec::new();
        for Condition { surface, name, strength, detail } in reasons {
            let Some(severity) = config.severity_of(name) else { continue };
            let known =
                self.firing.iter_mut().find(|firing| (firing.surface, firing.name) == (surface, name));
            if let Some(firing) = known {
                (firing.last_reason, firing.detail) = (now, detail);
            } else if strength == Strength::Fires {
                let firing = Firing { surface, name, severity, since: now, last_reason: now, detail };
                transitions.push(AlertTransition::Firing(firing.alert(now)));
                self.firing.push(firing);
            }
        }
        self.firing.retain(|firing| {
            let is_over = firing.is_over(now, config.resolve_after);
            if is_over {
                transitions.push(AlertTransition::Resolved(firing.alert(now)));
            }
            !is_over
        });
        transitions
    }

    /// Those that fire, the most urgent first, then the longest.
    pub(super) fn alerts(&self, now: Instant) -> Vec<Alert> {
        let mut alerts: Vec<_> = self.firing.iter().map(|firing| firing.alert(now)).collect();
        alerts.sort_by_key(|alert| (alert.severity, std::cmp::Reverse(alert.firing_for)));
        alerts
    }

    pub(super) fn fires(&self, surface: Surface, name: AlertName) -> bool {
        self.firing.iter().any(|firing| (firing.surface, firing.name) == (surface, name))
    }
}

impl Firing {
    fn alert(&self, now: Instant) -> Alert {
        let Self { surface, name, severity, since, .. } = *self;
        let firing_for = now.saturating_duration_since(since);
        Alert { name, surface, severity, firing_for, detail: self.detail.clone(), runbook: name.runbook() }
    }

    fn is_over(&self, now: Instant, quiet: Duration) -> bool {
        now.saturating_duration_since(self.last_reason) >= quiet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_of_one_surface_does_not_hide_that_of_the_other() {
        let (mut board, config, now) = (Board::default(), AlertsConfig::default(), Instant::now());
        let reason = |surface| Condition {
            surface,
            name: AlertName::ApiDown,
            strength: Strength::Fires,
            detail: String::new(),
        };
        for surface in Surface::ALL {
            let told = board.update(now, vec![reason(surface)], &config);
            assert_eq!(told.iter().map(|told| told.alert().surface).collect::<Vec<_>>(), [surface]);
        }
        assert!(Surface::ALL.into_iter().all(|surface| board.fires(surface, AlertName::ApiDown)));
        assert_eq!(board.update(now, Vec::new(), &config), []);
        assert_eq!(board.update(now + config.resolve_after, Vec::new(), &config).len(), 2);
        assert_eq!(board.alerts(now).len(), 0);
    }
}

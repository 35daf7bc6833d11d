use std::cmp::Reverse;
use std::time::Duration;

use tokio::time::Instant;

use super::rules::{Condition, Effect};
use super::{Alert, AlertName, AlertTransition, AlertsConfig, Severity, Surface};

/// The alerts that fire, with hysteresis: an alert resolves only after it has had no condition for a while.
#[derive(Debug, Default)]
pub struct FiringAlerts {
    alerts: Vec<FiringAlert>,
}

#[derive(Debug)]
struct FiringAlert {
    surface: Surface,
    name: AlertName,
    severity: Severity,
    since: Instant,
    last_condition: Instant,
    detail: String,
}

impl FiringAlerts {
    /// Applies the conditions that hold now, and returns what changes.
    pub fn update(
        &mut self,
        now: Instant,
        conditions: Vec<Condition>,
        config: &AlertsConfig,
    ) -> Vec<AlertTransition> {
        let mut transitions = Vec::new();
        for Condition { surface, name, effect, detail } in conditions {
            let Some(severity) = config.severity_of(name) else { continue };
            let known = self.alerts.iter_mut().find(|alert| (alert.surface, alert.name) == (surface, name));
            if let Some(known) = known {
                (known.last_condition, known.detail) = (now, detail);
            } else if effect == Effect::Fire {
                let alert = FiringAlert { surface, name, severity, since: now, last_condition: now, detail };
                transitions.push(AlertTransition::Firing(alert.to_alert(now)));
                self.alerts.push(alert);
            }
        }
        self.alerts.retain(|alert| {
            let is_over = alert.is_over(now, config.resolve_after);
            if is_over {
                transitions.push(AlertTransition::Resolved(alert.to_alert(now)));
            }
            !is_over
        });
        transitions
    }

    /// Returns the alerts, the most urgent first, and of equally urgent ones the oldest first.
    pub fn alerts(&self, now: Instant) -> Vec<Alert> {
        let mut alerts: Vec<_> = self.alerts.iter().map(|alert| alert.to_alert(now)).collect();
        alerts.sort_by_key(|alert| (alert.severity, Reverse(alert.firing_for)));
        alerts
    }

    #[cfg(any(test, feature = "metrics"))]
    pub fn contains(&self, surface: Surface, name: AlertName) -> bool {
        self.alerts.iter().any(|alert| (alert.surface, alert.name) == (surface, name))
    }
}

impl FiringAlert {
    fn to_alert(&self, now: Instant) -> Alert {
        let Self { surface, name, severity, since, .. } = *self;
        let firing_for = now.saturating_duration_since(since);
        Alert { name, surface, severity, firing_for, detail: self.detail.clone(), runbook: name.runbook() }
    }

    fn is_over(&self, now: Instant, quiet: Duration) -> bool {
        now.saturating_duration_since(self.last_condition) >= quiet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_of_one_surface_does_not_hide_that_of_the_other() {
        let (mut firing, config, now) = (FiringAlerts::default(), AlertsConfig::default(), Instant::now());
        let condition = |surface| Condition {
            surface,
            name: AlertName::ApiDown,
            effect: Effect::Fire,
            detail: String::new(),
        };
        for surface in Surface::ALL {
            let changes = firing.update(now, vec![condition(surface)], &config);
            assert_eq!(changes.iter().map(|change| change.alert().surface).collect::<Vec<_>>(), [surface]);
        }
        assert!(Surface::ALL.into_iter().all(|surface| firing.contains(surface, AlertName::ApiDown)));
        assert_eq!(firing.update(now, Vec::new(), &config), []);
        assert_eq!(firing.update(now + config.resolve_after, Vec::new(), &config).len(), 2);
        assert_eq!(firing.alerts(now).len(), 0);
    }
}

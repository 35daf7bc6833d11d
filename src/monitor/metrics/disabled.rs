//! Stands in for the metrics when the feature is off: publishes nothing.

use crate::monitor::AlertsConfig;
use crate::monitor::firing::FiringAlerts;
use crate::monitor::rules::View;
use crate::monitor::sources::Sources;

#[derive(Debug, Default)]
pub struct Published {}

impl Published {
    pub fn update(&mut self, _: Samples) {}

    pub fn withdraw(&mut self) {}
}

pub struct Samples;

pub fn samples(_: &View<'_>, _: &Sources, _: &FiringAlerts, _: &AlertsConfig) -> Samples {
    Samples
}

pub fn describe() {}

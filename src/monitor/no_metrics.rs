//! What stands for the metrics where the feature is off: nobody is shown anything.

use std::time::Duration;

use super::board::Board;
use super::traffic::Traffic;
use super::watch::Sources;
use super::{AlertsConfig, Surface};
use crate::ErrorKind;
use crate::delivery::Snapshot;

pub(super) struct Scene<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) sources: &'a Sources,
    pub(super) traffic: &'a [Traffic; Surface::ALL.len()],
    pub(super) board: &'a Board,
    pub(super) alerts: &'a AlertsConfig,
}

#[derive(Debug, Default)]
pub(super) struct Published {}

impl Published {
    pub(super) fn update(&mut self, _: Samples) {}

    pub(super) fn withdraw(&mut self) {}
}

pub(super) struct Samples;

pub(super) fn samples(_: &Scene<'_>) -> Samples {
    Samples
}

pub(super) fn describe() {}

pub(super) fn attempt(_: Surface, _: Duration) {}

pub(crate) fn batch(_events: usize, _bytes: usize) {}

pub(crate) fn probe(_: Option<ErrorKind>, _: Duration) {}

//! What stands for the metrics where the feature is off: nobody is shown anything.

use std::time::Duration;

use super::Surface;
use super::looks::Scene;
use crate::ErrorKind;

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

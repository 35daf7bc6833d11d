//! Stands in for the metrics when the feature is off: records nothing.

use std::time::Duration;

pub fn attempt(_surface: &'static str, _latency: Duration) {}

pub fn batch(_events: usize, _bytes: usize) {}

pub fn probe(_outcome: &'static str, _latency: Duration) {}

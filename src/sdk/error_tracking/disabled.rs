//! Stands in for error tracking while its feature is off: the SDK has no options for it then.

use posthog_rs::{ClientOptionsBuilder, Event};

use crate::delivery::Producer;
use crate::layers::CircuitBreakerHandle;

#[derive(Debug, Default)]
pub struct ErrorTracking(());

impl ErrorTracking {
    pub fn apply(&self, _: &mut ClientOptionsBuilder) {}
}

pub fn capture(producer: &Producer, event: Event, _: &CircuitBreakerHandle) {
    producer.capture_as_is(event);
}

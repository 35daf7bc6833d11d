//! Stands in for error tracking while its feature is off: the SDK has no options for it then.

use posthog_rs::ClientOptionsBuilder;

#[derive(Debug, Default)]
pub struct ErrorTracking(());

impl ErrorTracking {
    pub fn apply(&self, _: &mut ClientOptionsBuilder) {}
}

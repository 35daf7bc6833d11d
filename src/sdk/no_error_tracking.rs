//! What stands for error tracking where the feature is off: there are no options of it.

use posthog_rs::ClientOptionsBuilder;

#[derive(Default)]
pub(crate) struct ErrorTracking;

impl ErrorTracking {
    pub(super) fn apply(&self, _: &mut ClientOptionsBuilder) {}
}

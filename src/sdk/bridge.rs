use std::sync::Arc;

use posthog_rs::Event;
use tracing::Span;

use crate::delivery::Queue;

/// The hook that takes every event of the SDK and leaves it nothing to send.
///
/// An event comes here finished: with its uuid, its time, the request context of whoever captured it, and the SDK's
/// enrichment. The encoder adds only what an event does not have, and writes its groups once, so nothing is doubled.
/// Never waits and never calls the SDK, as is asked of such a hook.
pub(super) fn hook(queue: Arc<Queue>, span: Span) -> impl FnMut(Event) -> Option<Event> + Send + 'static {
    move |event| {
        span.in_scope(|| queue.capture(event));
        None
    }
}

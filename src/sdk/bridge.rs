use std::sync::Arc;

use posthog_rs::Event;
use tracing::Span;

use crate::delivery::Queue;

/// The `before_send` hook that moves every event of the SDK into our queue and leaves the SDK nothing to send.
///
/// An event arrives here complete: with its uuid, its time, the request context of its caller, and the SDK's
/// enrichment. The encoder adds only what an event lacks and writes its groups once, so nothing is duplicated. As the SDK
/// requires of a hook, this one never waits and never calls the SDK.
pub fn hook(queue: Arc<Queue>, span: Span) -> impl FnMut(Event) -> Option<Event> + Send + 'static {
    move |event| {
        span.in_scope(|| queue.capture(event));
        None
    }
}

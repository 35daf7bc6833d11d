use std::sync::Arc;

use posthog_rs::Event;

use crate::delivery::Producer;

/// The `before_send` hook that moves every event of the SDK into our queue and leaves the SDK nothing to send.
///
/// An event arrives here complete: with its uuid, its time, the request context of its caller, and the SDK's
/// enrichment. The encoder adds only what an event lacks and writes its groups once, so nothing is duplicated. The user's
/// hooks run here, on the SDK's thread, because that is the thread that captures. As the SDK requires of a hook, this one
/// never calls the SDK.
pub fn hook(producer: Arc<Producer>) -> impl FnMut(Event) -> Option<Event> + Send + 'static {
    move |event| {
        producer.capture_as_is(event);
        None
    }
}

use std::error::Error as StdError;

use posthog_rs::{CaptureExceptionOptions, Client, ClientOptionsBuilder, Error, ErrorTrackingOptions, Event};
use tokio::runtime::Handle;

use super::managed::poll_once;
use crate::delivery::Producer;
use crate::layers::CircuitBreakerHandle;

/// The SDK's options for error tracking.
#[derive(Debug, Default)]
pub struct ErrorTracking(pub ErrorTrackingOptions);

impl ErrorTracking {
    pub fn apply(&self, options: &mut ClientOptionsBuilder) {
        options.error_tracking(self.0.clone());
    }
}

/// Lets the SDK make the exception's event on this thread, so that the stack trace is the caller's.
pub fn capture_exception<E: StdError + ?Sized>(
    client: &Client,
    error: &E,
    options: CaptureExceptionOptions,
) -> Result<(), Error> {
    // The SDK's method is async, but it awaits nothing.
    let made = poll_once(client.capture_exception_with(error, options));
    made.unwrap_or_else(|| Err(Error::Connection("the SDK would have waited".into())))
}

/// Captures an event of the SDK's.
///
/// The exception of a panic may be the last event of the process. The panicking thread waits until the SDK's thread, on
/// which this runs, has done with it, so this waits for delivery. On a runtime's thread, where a user may call the SDK
/// directly, nothing may block.
pub fn capture(producer: &Producer, event: Event, breaker: &CircuitBreakerHandle) {
    if is_of_a_panic(&event) && Handle::try_current().is_err() {
        producer.capture_last(event, breaker);
    } else {
        producer.capture_as_is(event);
    }
}

fn is_of_a_panic(event: &Event) -> bool {
    let mechanism =
        || event.properties().get("$exception_list")?.get(0)?.get("mechanism")?.get("type")?.as_str();
    event.event_name() == "$exception" && mechanism() == Some("panic")
}

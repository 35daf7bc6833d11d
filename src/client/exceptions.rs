use std::error::Error;

use posthog_rs::{CaptureExceptionOptions, Event};

use super::PostHog;
use crate::delivery::DropReason;
use crate::rt::foreign;
use crate::sdk;

impl PostHog {
    /// Captures an error as an exception, with its sources and the stack trace of this call, and without a person. It never
    /// fails the caller, never waits for PostHog, and works on any thread. The SDK makes the event, so the first call
    /// starts the SDK's thread.
    ///
    /// The SDK's method of this name is async and returns a `Result`. Nothing in it waits, and a caller can do nothing about
    /// its error. So this method counts an exception that cannot be captured, as
    /// [`NotEncodable`](crate::DropReason::NotEncodable).
    ///
    /// The stack trace is made on the caller's thread. In a debug build that took 2 ms, and 800 ms the first time, when the
    /// program's debug information is read. Where that is too long, turn off `capture_stacktrace` in
    /// [`error_tracking`](crate::PostHogBuilder::error_tracking).
    ///
    /// ```no_run
    /// # fn example(posthog: &posthog_health::PostHog) {
    /// if let Err(error) = std::fs::read("orders.json") {
    ///     posthog.capture_exception(&error);
    /// }
    /// # }
    /// ```
    pub fn capture_exception<E: Error + ?Sized>(&self, error: &E) {
        self.capture_exception_with(error, CaptureExceptionOptions::default());
    }

    /// As [`capture_exception`](Self::capture_exception), with a person, properties, groups, a fingerprint or a level.
    ///
    /// ```no_run
    /// # use posthog_health::posthog_rs::{CaptureExceptionOptions, Error};
    /// # fn example(posthog: &posthog_health::PostHog, error: &std::io::Error) -> Result<(), Error> {
    /// let about = CaptureExceptionOptions::new().distinct_id("user-42").property("route", "/checkout")?;
    /// posthog.capture_exception_with(error, about);
    /// # Ok(()) }
    /// ```
    pub fn capture_exception_with<E: Error + ?Sized>(&self, error: &E, options: CaptureExceptionOptions) {
        // It would reach the hook from the SDK's thread, where nobody knows that it comes from a hook.
        if self.inner.producer.is_inside_hook() {
            return self.inner.queue.refuse(DropReason::InsideHook, None);
        }
        let Some(sdk) = self.running().and_then(|running| running.sdk.plain()) else {
            // Disabled or shut down. The event that stands in is refused and counted; without a person, it is never sent.
            self.inner.producer.capture(Event::new("$exception", ""));
            return;
        };
        // The error's texts, the provider of trace contexts and, for a span of the SDK's, a log subscriber are foreign code.
        let captured = foreign::call(|| sdk::capture_exception(&sdk, error, options));
        if !matches!(captured, Ok(Ok(()))) {
            self.inner.queue.refuse(DropReason::NotEncodable, None);
        }
    }
}

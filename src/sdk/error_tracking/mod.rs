use std::error::Error as StdError;

use posthog_rs::{CaptureExceptionOptions, Client, ClientOptionsBuilder, Error, ErrorTrackingOptions};

use super::managed::poll_once;

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

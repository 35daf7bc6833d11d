use std::error::Error as StdError;

use posthog_rs::{CaptureExceptionOptions, Client, ClientOptionsBuilder, Error, ErrorTrackingOptions};

use super::held::now;

/// The SDK's options of error tracking.
#[derive(Default)]
pub(crate) struct ErrorTracking(ErrorTrackingOptions);

impl ErrorTracking {
    pub(crate) fn new(options: ErrorTrackingOptions) -> Self {
        Self(options)
    }

    pub(super) fn apply(&self, options: &mut ClientOptionsBuilder) {
        options.error_tracking(self.0.clone());
    }
}

/// Lets the SDK make the exception's event, here and now: its stack trace is that of the caller.
pub(crate) fn capture_exception<E: StdError + ?Sized>(
    client: &Client,
    error: &E,
    options: CaptureExceptionOptions,
) -> Result<(), Error> {
    // Nothing in it awaits.
    let made = now(client.capture_exception_with(error, options));
    made.unwrap_or_else(|| Err(Error::Connection("the SDK would have waited".into())))
}

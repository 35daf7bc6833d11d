mod config;
mod kind;

use std::fmt;
use std::time::Duration;

use tower::BoxError;
use tower::timeout::error::Elapsed;

use crate::layers::CircuitOpen;
use crate::outcome::{Outcome, read_failure};
pub use config::ConfigError;
pub use kind::ErrorKind;

/// Why an attempt to reach PostHog did not do what was asked.
///
/// Shows no token, no event and no URL, so it can be logged as it is; the cause is in
/// [`source`](std::error::Error::source).
pub struct Error {
    kind: ErrorKind,
    status: Option<u16>,
    retry_after: Option<Duration>,
    answer: Option<String>,
    source: Option<BoxError>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Self { kind, status: None, retry_after: None, answer: None, source: None }
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    pub(crate) fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    pub(crate) fn with_answer(mut self, answer: Option<String>) -> Self {
        self.answer = answer;
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The HTTP status, when there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// How long PostHog asked to be left alone, capped by the configuration.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The beginning of what was answered, for people. It may repeat parts of an event, so it is in no
    /// `Display` and no `Debug`: do not log it.
    pub fn answer(&self) -> Option<&str> {
        self.answer.as_deref()
    }

    /// Whether the same request may succeed later, with nothing changed on our side.
    pub fn is_retryable(&self) -> bool {
        matches!(Outcome::of(Err(self)), Outcome::Retry { .. } | Outcome::SlowDown { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.describe())?;
        match self.status {
            Some(status) => write!(f, " (HTTP {status})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, status, retry_after, source, .. } = self;
        let mut error = f.debug_struct("Error");
        error.field("kind", kind).field("status", status).field("retry_after", retry_after);
        error.field("source", source).finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Says all that it says: there is no source, and no memory is asked for while a breaker is open.
impl From<CircuitOpen> for Error {
    fn from(open: CircuitOpen) -> Self {
        Self::new(ErrorKind::CircuitOpen).with_retry_after(open.retry_in)
    }
}

/// Tells status, connection, name, TLS and timeout apart, and strips the URL.
impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        read_failure(error, 0)
    }
}

/// What comes out of tower's timeout: an error from below it, or its own.
impl From<BoxError> for Error {
    fn from(error: BoxError) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(error) => return *error,
            Err(error) => error,
        };
        match error.downcast::<reqwest::Error>() {
            Ok(error) => (*error).into(),
            Err(error) if error.is::<Elapsed>() => Self::new(ErrorKind::Timeout).with_source(error),
            Err(error) => Self::new(ErrorKind::ConnectionLost).with_source(error),
        }
    }
}

//! Errors of requests, and of configurations that cannot work.
//!
//! [`kind`] has the one table that says what each [`ErrorKind`] means to the other modules: they read it and judge no kind
//! on their own. Nothing here speaks of PostHog, because the [layers](crate::layers) use [`Error`] around any service.

pub mod check;
mod config;
mod kind;
mod reason;
mod transport;

use std::fmt;
use std::time::Duration;

use tower::BoxError;

pub use config::ConfigError;
pub use kind::{AlertCause, Breaker, ErrorKind, Fate, Suspicion};
pub use reason::Reason;
#[cfg(test)]
pub use transport::causes;
pub use transport::error_chain;

/// Why a request to a service failed.
///
/// It shows no token, no event and no URL, so it can be logged as it is. Its text names no service either, since it may
/// come from any service behind the [layers](crate::layers). The cause is in [`source`](std::error::Error::source).
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

    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
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

    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// How long the service asked to be left alone, capped by the configuration.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The beginning of the answer, for people. It may repeat parts of an event, so neither `Display` nor `Debug` shows
    /// it. Do not log it.
    pub fn answer(&self) -> Option<&str> {
        self.answer.as_deref()
    }

    /// Whether the same request may succeed later, with nothing changed on our side.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind.meaning().fate, Fate::Retry | Fate::SlowDown)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.meaning().text)?;
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

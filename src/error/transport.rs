//! What a failure of the HTTP client means.

use std::error::Error as StdError;
use std::io;

use tower::BoxError;
use tower::timeout::error::Elapsed;

use super::{Error, ErrorKind};

/// Distinguishes status, connection, name, TLS and timeout, and strips the URL.
impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let status = error.status().map(|status| status.as_u16());
        let kind = if let Some(kind) = status.and_then(ErrorKind::of_status) {
            kind
        } else if error.is_builder() {
            ErrorKind::BadRequest
        } else if error.is_connect() {
            // Also when the time to connect was over: unlike a timeout, the request has not arrived.
            connect_failure(&error)
        } else if error.is_timeout() {
            ErrorKind::Timeout
        } else if error.is_body() || error.is_decode() {
            ErrorKind::TruncatedResponse
        } else {
            ErrorKind::ConnectionLost
        };
        Self { status, ..Self::new(kind).with_source(error) }
    }
}

/// Converts what comes out of tower's timeout, which is either an error of the service below it or the timeout's own.
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

/// The HTTP client exposes no types for DNS and TLS failures. A resolver's error is recognized by its text, and TLS errors
/// are the only invalid data or end of file that a connection attempt can meet.
fn connect_failure(error: &reqwest::Error) -> ErrorKind {
    if causes(error).any(|cause| cause.to_string() == "dns error") {
        return ErrorKind::Dns;
    }
    match io_kind(error) {
        Some(io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => ErrorKind::Tls,
        _ => ErrorKind::Connect,
    }
}

impl Error {
    /// Whether the server closed the connection before it answered. Under TLS that is an end of file, because few servers
    /// announce the end as the protocol wants it.
    pub(crate) fn is_hang_up(&self) -> bool {
        use io::ErrorKind::*;
        self.kind == ErrorKind::ConnectionLost
            && (matches!(
                io_kind(self),
                Some(BrokenPipe | ConnectionReset | ConnectionAborted | UnexpectedEof)
            ) || causes(self)
                .any(|cause| cause.to_string().contains("connection closed before message completed")))
    }

    /// The innermost cause, which is the event on the wire.
    pub(crate) fn innermost_cause(&self) -> Option<&(dyn StdError + 'static)> {
        causes(self).skip(1).last()
    }
}

fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last().map(io::Error::kind)
}

/// The texts of an error and its causes, the innermost last.
pub fn error_chain(error: &(dyn StdError + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// An error and its causes, the innermost last.
pub fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&cause| {
        match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            // An I/O error that wraps another error does not report it as its source.
            Some(wrapped) => Some(wrapped as _),
            None => cause.source(),
        }
    })
}

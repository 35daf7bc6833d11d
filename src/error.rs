use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tower::BoxError;
use tower::timeout::error::Elapsed;

use crate::layers::CircuitOpen;
use crate::outcome::read_failure;

/// A configuration that cannot work. Says which field, what is wrong with it (the shape of a value, never
/// a secret) and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}: {remedy}")]
pub struct ConfigError {
    field: &'static str,
    problem: Cow<'static, str>,
    remedy: Cow<'static, str>,
}

impl ConfigError {
    pub(crate) fn new(
        field: &'static str,
        problem: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field, problem: problem.into(), remedy: remedy.into() }
    }

    /// The same, of what the user calls it.
    pub(crate) fn of(self, field: &'static str) -> Self {
        Self { field, ..self }
    }

    /// The builder method or environment variable.
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// What is wrong with it.
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// What to do about it.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

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

/// What went wrong. Each kind's page says whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// No connection: refused, unreachable, no route. Retryable.
    Connect,
    /// The host's name could not be resolved. Retryable: resolvers fail for moments.
    Dns,
    /// No secure connection: certificate, protocol or handshake. Retryable, and a matter for whoever runs
    /// the network when it lasts.
    Tls,
    /// No complete answer within the request timeout. Retryable; what was sent may have arrived.
    Timeout,
    /// The connection broke before an answer. Retryable; what was sent may have arrived.
    ConnectionLost,
    /// The answer broke off. Retryable; what was sent may have arrived.
    AnswerCutShort,
    /// PostHog or a proxy is in trouble: 408 or 5xx. Retryable.
    Server,
    /// 429: too many requests. Retryable, after [`Error::retry_after`].
    RateLimited,
    /// 401: the token is not valid. Not retryable until the token is.
    Unauthorized,
    /// 403: the token may not do this. Not retryable until it may.
    Forbidden,
    /// 402: over the billing quota. Not retryable until the quota is raised or renewed.
    QuotaExceeded,
    /// Something answers that is not PostHog: a redirect, 404, 405, an HTML page, a status that PostHog does
    /// not use. Not retryable until the host is right.
    WrongHost,
    /// 400 or 422: the request is malformed, one bad event in a batch suffices. Not retryable.
    BadRequest,
    /// 413, or a large body that was refused halfway: too much in one request. Not retryable as it is.
    TooLarge,
    /// The circuit breaker is open: no attempt was made. Retryable, after [`Error::retry_after`].
    CircuitOpen,
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
        use ErrorKind::*;
        matches!(
            self.kind,
            Connect
                | Dns
                | Tls
                | Timeout
                | ConnectionLost
                | AnswerCutShort
                | Server
                | RateLimited
                | CircuitOpen
        )
    }
}

impl ErrorKind {
    pub(crate) const ALL: [Self; 15] = [
        Self::Connect,
        Self::Dns,
        Self::Tls,
        Self::Timeout,
        Self::ConnectionLost,
        Self::AnswerCutShort,
        Self::Server,
        Self::RateLimited,
        Self::Unauthorized,
        Self::Forbidden,
        Self::QuotaExceeded,
        Self::WrongHost,
        Self::BadRequest,
        Self::TooLarge,
        Self::CircuitOpen,
    ];

    /// As it stands in JSON, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::ConnectionLost => "connection_lost",
            Self::AnswerCutShort => "answer_cut_short",
            Self::Server => "server",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::QuotaExceeded => "quota_exceeded",
            Self::WrongHost => "wrong_host",
            Self::BadRequest => "bad_request",
            Self::TooLarge => "too_large",
            Self::CircuitOpen => "circuit_open",
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Connect => "cannot connect to PostHog",
            Self::Dns => "cannot resolve PostHog's host name",
            Self::Tls => "no secure connection to PostHog",
            Self::Timeout => "PostHog did not answer in time",
            Self::ConnectionLost => "the connection to PostHog broke",
            Self::AnswerCutShort => "PostHog's answer broke off",
            Self::Server => "PostHog is in trouble",
            Self::RateLimited => "PostHog asks for fewer requests",
            Self::Unauthorized => "PostHog does not accept the project token",
            Self::Forbidden => "the project token may not do this",
            Self::QuotaExceeded => "over PostHog's billing quota",
            Self::WrongHost => "the host does not answer as PostHog does",
            Self::BadRequest => "PostHog rejects the request as malformed",
            Self::TooLarge => "PostHog rejects the request as too large",
            Self::CircuitOpen => "circuit breaker open",
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_place_and_name() {
        for (index, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}

use serde::{Deserialize, Serialize};

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
    /// 429: too many requests. Retryable, after [`Error::retry_after`](crate::Error::retry_after).
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
    /// The circuit breaker is open: no attempt was made. Retryable, after [`Error::retry_after`](crate::Error::retry_after).
    CircuitOpen,
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

    pub(super) fn describe(self) -> &'static str {
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

//! The kinds of errors, and the one table of what each means.

use serde::{Deserialize, Serialize};

/// What went wrong.
///
/// | kind | retryable | the batch | circuit breaker | alert | health reason |
/// |---|---|---|---|---|---|
/// | `connect` | yes | Retry | Failure | ApiDown | Unreachable |
/// | `dns` | yes | Retry | Failure | ApiDown | Unreachable |
/// | `tls` | yes | Retry | Failure | ApiDown | Unreachable |
/// | `timeout` | yes | Retry | Failure | ApiDown | Unreachable |
/// | `connection_lost` | yes | Retry | Failure | ApiDown | Unreachable |
/// | `truncated_response` | yes | Retry | Failure | ApiDown | Unreachable |
/// | `server` | yes | Retry | Failure | ApiDown | ServerError |
/// | `rate_limited` | yes | SlowDown | Ignored | RateLimited | RateLimited |
/// | `unauthorized` | no | Stop | Success | AuthFailures | Unauthorized |
/// | `forbidden` | no | Stop | Success | AuthFailures | Unauthorized |
/// | `quota_exceeded` | no | Stop | Success | QuotaExceeded | QuotaExceeded |
/// | `wrong_host` | no | Stop | Success | ApiDown | WrongHost |
/// | `bad_request` | no | Split | Success | | RejectedEvents |
/// | `too_large` | no | Split | Success | | RejectedEvents |
/// | `circuit_open` | yes | Retry | NotAttempted | | |
///
/// - The batch: its [`Outcome`](crate::Outcome). An attempt that fails is logged at debug. A batch that stops delivery, and
///   the first event of a split batch that becomes a dead letter, are logged at warn, once an episode.
/// - Circuit breaker: whether the delivery's and the flags' circuit breaker count a failure or a success, ignore the
///   answer, or were not passed at all.
/// - Alert: the [`AlertName`](crate::AlertName) that counts it.
/// - Health reason: the [`Reason`](crate::Reason) in the health report while it is the latest result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// No connection: refused, unreachable, no route. Retryable.
    Connect,
    /// The host's name could not be resolved. Retryable, because resolvers fail for moments.
    Dns,
    /// No secure connection: certificate, protocol or handshake. Retryable. If it lasts, whoever runs the network has to
    /// act.
    Tls,
    /// No complete answer within the request timeout. Retryable; the request may have arrived.
    Timeout,
    /// The connection broke before an answer. Retryable; the request may have arrived.
    ConnectionLost,
    /// The answer broke off. Retryable; the request may have arrived.
    // Dead letters on disk may have its former name.
    #[serde(alias = "answer_cut_short")]
    TruncatedResponse,
    /// The service or a proxy is in trouble: 408 or 5xx. Retryable.
    Server,
    /// 429: too many requests. Retryable, after [`Error::retry_after`](crate::Error::retry_after).
    RateLimited,
    /// 401: the token is not valid. Not retryable until it is replaced.
    Unauthorized,
    /// 403: the token may not do this. Not retryable until it has the permission.
    Forbidden,
    /// 402: over the billing quota. Not retryable until the quota is raised or renewed.
    QuotaExceeded,
    /// Something else answers in the service's place: a redirect, 404, 405, an HTML page, a status that PostHog does not
    /// use. Not retryable until the host is corrected.
    WrongHost,
    /// 400 or 422: the request is malformed. One bad event in a batch suffices. Not retryable.
    BadRequest,
    /// 413, or a large body that was refused halfway: too much in one request. Not retryable as it is.
    TooLarge,
    /// The circuit breaker is open, and no attempt was made. Retryable, after
    /// [`Error::retry_after`](crate::Error::retry_after).
    CircuitOpen,
}

/// What an error means to the parts of this crate that act on it.
#[derive(Clone, Copy, Debug)]
pub struct Meaning {
    /// In JSON, logs and metrics.
    pub name: &'static str,
    pub fate: Fate,
    pub breaker: Breaker,
    pub alert: Option<AlertCause>,
    pub reason: Option<HealthReason>,
    /// For people. It names no service, because the layers protect any.
    pub text: &'static str,
}

/// What becomes of the batch. [`Outcome`](crate::Outcome) adds the server's hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Retry,
    SlowDown,
    Split,
    Stop,
}

/// How the circuit breaker counts it. [`Verdict`](crate::layers::Verdict) is made from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    Failure,
    /// The service refuses this request and is alive.
    Success,
    /// The service is alive and asks for less.
    Ignored,
    NotAttempted,
}

/// The alert that counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertCause {
    ApiDown,
    RateLimited,
    AuthFailures,
    QuotaExceeded,
}

/// The reason in the health report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthReason {
    Unreachable,
    ServerError,
    RateLimited,
    Unauthorized,
    QuotaExceeded,
    WrongHost,
    RejectedEvents,
}

impl ErrorKind {
    pub(crate) const ALL: [Self; 15] = [
        Self::Connect,
        Self::Dns,
        Self::Tls,
        Self::Timeout,
        Self::ConnectionLost,
        Self::TruncatedResponse,
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

    /// The one table. Whoever acts on an error reads its row, and the table in the docs above is compared with it.
    #[rustfmt::skip]
    pub(crate) const fn meaning(self) -> Meaning {
        use AlertCause::{ApiDown, AuthFailures};
        use Breaker::{Failure, Ignored, NotAttempted, Success};
        use Fate::{Retry, SlowDown, Split, Stop};
        use HealthReason::{RejectedEvents, ServerError, Unreachable};
        let (name, fate, breaker, alert, reason, text) = match self {
            Self::Connect => ("connect", Retry, Failure, Some(ApiDown), Some(Unreachable),
                "cannot connect"),
            Self::Dns => ("dns", Retry, Failure, Some(ApiDown), Some(Unreachable),
                "cannot resolve the host name"),
            Self::Tls => ("tls", Retry, Failure, Some(ApiDown), Some(Unreachable),
                "cannot set up a secure connection"),
            Self::Timeout => ("timeout", Retry, Failure, Some(ApiDown), Some(Unreachable),
                "no answer in time"),
            Self::ConnectionLost => ("connection_lost", Retry, Failure, Some(ApiDown), Some(Unreachable),
                "the connection broke off"),
            Self::TruncatedResponse => ("truncated_response", Retry, Failure, Some(ApiDown), Some(Unreachable),
                "the answer broke off"),
            Self::Server => ("server", Retry, Failure, Some(ApiDown), Some(ServerError),
                "the service is in trouble"),
            Self::RateLimited => ("rate_limited", SlowDown, Ignored, Some(AlertCause::RateLimited), Some(HealthReason::RateLimited),
                "too many requests"),
            Self::Unauthorized => ("unauthorized", Stop, Success, Some(AuthFailures), Some(HealthReason::Unauthorized),
                "the token is not accepted"),
            Self::Forbidden => ("forbidden", Stop, Success, Some(AuthFailures), Some(HealthReason::Unauthorized),
                "the token lacks the permission"),
            Self::QuotaExceeded => ("quota_exceeded", Stop, Success, Some(AlertCause::QuotaExceeded), Some(HealthReason::QuotaExceeded),
                "over the billing quota"),
            Self::WrongHost => ("wrong_host", Stop, Success, Some(ApiDown), Some(HealthReason::WrongHost),
                "something else answers in the service's place"),
            Self::BadRequest => ("bad_request", Split, Success, None, Some(RejectedEvents),
                "the request is rejected as malformed"),
            Self::TooLarge => ("too_large", Split, Success, None, Some(RejectedEvents),
                "the request is rejected as too large"),
            Self::CircuitOpen => ("circuit_open", Retry, NotAttempted, None, None,
                "circuit breaker open"),
        };
        Meaning { name, fate, breaker, alert, reason, text }
    }

    /// The name in JSON, logs and metrics.
    pub fn as_str(self) -> &'static str {
        self.meaning().name
    }

    /// The kind of an HTTP status, or `None` if it is a success. Only 400 and 422 say that the events are bad. A status
    /// that PostHog does not use comes from something else.
    pub(crate) fn of_status(status: u16) -> Option<Self> {
        match status {
            200..=299 => None,
            400 | 422 => Some(Self::BadRequest),
            401 => Some(Self::Unauthorized),
            402 => Some(Self::QuotaExceeded),
            403 => Some(Self::Forbidden),
            408 | 500..=599 => Some(Self::Server),
            413 => Some(Self::TooLarge),
            429 => Some(Self::RateLimited),
            _ => Some(Self::WrongHost),
        }
    }

    /// Whether a new token may help.
    pub(crate) fn is_about_the_token(self) -> bool {
        self.meaning().alert == Some(AlertCause::AuthFailures)
    }

    /// Whether the request left at all.
    pub(crate) fn is_attempt(self) -> bool {
        self.meaning().breaker != Breaker::NotAttempted
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

    #[test]
    fn a_former_name_is_still_read() {
        let read: ErrorKind = serde_json::from_str("\"answer_cut_short\"").unwrap();
        assert_eq!(read, ErrorKind::TruncatedResponse);
    }

    #[test]
    fn no_text_names_a_service() {
        for kind in ErrorKind::ALL {
            assert!(!kind.meaning().text.to_lowercase().contains("posthog"), "{kind:?}");
        }
    }

    #[test]
    fn the_table_in_the_docs_is_the_table() {
        let rows = include_str!("kind.rs").lines().filter(|line| line.starts_with("/// | `"));
        let documented: Vec<_> = rows.map(|line| line.trim_start_matches("/// ").to_owned()).collect();
        let table = ErrorKind::ALL.map(|kind| {
            let Meaning { name, fate, breaker, alert, reason, .. } = kind.meaning();
            let retryable = if crate::Error::new(kind).is_retryable() { "yes" } else { "no" };
            let alert = alert.map_or(String::new(), |alert| format!(" {alert:?}"));
            let reason = reason.map_or(String::new(), |reason| format!(" {reason:?}"));
            format!("| `{name}` | {retryable} | {fate:?} | {breaker:?} |{alert} |{reason} |")
        });
        assert_eq!(documented, table);
    }
}

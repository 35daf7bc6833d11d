//! The kinds of errors, and the one table of what each means.

use serde::Deserialize;

use super::Reason;
use crate::rt::named;

named! {
    /// What went wrong.
    ///
    /// | kind | retryable | the batch | suspicion | circuit breaker | alert | health reason |
    /// |---|---|---|---|---|---|---|
    /// | `connect` | yes | Retry | | Failure | ApiDown | Unreachable |
    /// | `dns` | yes | Retry | | Failure | ApiDown | Unreachable |
    /// | `tls` | yes | Retry | | Failure | ApiDown | Unreachable |
    /// | `timeout` | yes | Retry | Failure | Failure | ApiDown | Unreachable |
    /// | `connection_lost` | yes | Retry | Failure | Failure | ApiDown | Unreachable |
    /// | `truncated_response` | yes | Retry | Failure | Failure | ApiDown | Unreachable |
    /// | `server` | yes | Retry | Failure | Failure | ApiDown | ServerError |
    /// | `rate_limited` | yes | SlowDown | | Ignored | RateLimited | RateLimited |
    /// | `unauthorized` | no | Stop | | Success | AuthFailures | Unauthorized |
    /// | `forbidden` | no | Stop | | Success | AuthFailures | Unauthorized |
    /// | `quota_exceeded` | no | Stop | | Success | QuotaExceeded | QuotaExceeded |
    /// | `wrong_host` | no | Stop | Refusal | Success | ApiDown | WrongHost |
    /// | `bad_request` | no | Split | Refusal | Success | | RejectedEvents |
    /// | `too_large` | no | Split | Refusal | Success | | RejectedEvents |
    /// | `circuit_open` | yes | Retry | | NotAttempted | | |
    /// | `rate_limit_exceeded` | yes | Retry | | NotAttempted | | |
    ///
    /// - The batch: its [`Outcome`](crate::Outcome). An attempt that fails is logged at debug. A batch that stops delivery, and
    ///   the first event of a split batch that becomes a dead letter, are logged at warn, once an episode.
    /// - Suspicion: whether the content of an event may be the cause, if other events are accepted meanwhile. Then the batch
    ///   is searched for that event.
    /// - Circuit breaker: whether the delivery's and the flags' circuit breaker count a failure or a success, ignore the
    ///   answer, or were not passed at all.
    /// - Alert: the [`AlertName`](crate::AlertName) that counts it.
    /// - Health reason: the [`Reason`](crate::Reason) in the health report while it is the latest result.
    #[derive(Hash, Deserialize)]
    #[non_exhaustive]
    pub enum ErrorKind {
        /// No connection: refused, unreachable, no route, or none in time. Retryable.
        Connect = "connect",
        /// The host's name could not be resolved. Retryable, because resolvers fail for moments.
        Dns = "dns",
        /// No secure connection: certificate, protocol or handshake. Retryable. If it lasts, whoever runs the network has to
        /// act.
        Tls = "tls",
        /// No complete answer within the request timeout. Retryable; the request may have arrived.
        Timeout = "timeout",
        /// The connection broke before an answer. Retryable; the request may have arrived.
        ConnectionLost = "connection_lost",
        /// The answer broke off. Retryable; the request may have arrived.
        // Dead letters on disk may have its former name.
        #[serde(alias = "answer_cut_short")]
        TruncatedResponse = "truncated_response",
        /// The service or a proxy is in trouble: 408 or 5xx. Retryable.
        Server = "server",
        /// 429: too many requests. Retryable, after [`Error::retry_after`](crate::Error::retry_after).
        RateLimited = "rate_limited",
        /// 401: the token is not valid. Not retryable until it is replaced.
        Unauthorized = "unauthorized",
        /// 403: the token may not do this. Not retryable until it has the permission.
        Forbidden = "forbidden",
        /// 402: over the billing quota. Not retryable until the quota is raised or renewed.
        QuotaExceeded = "quota_exceeded",
        /// Something else answers in the service's place: a redirect, 404, 405, an HTML page, a status that PostHog does not
        /// use. Not retryable until the host is corrected.
        WrongHost = "wrong_host",
        /// 400 or 422: the request is malformed. One bad event in a batch suffices. Not retryable.
        BadRequest = "bad_request",
        /// 413, or a large body that was refused halfway: too much in one request. Not retryable as it is.
        TooLarge = "too_large",
        /// The circuit breaker is open, and no attempt was made. Retryable, after
        /// [`Error::retry_after`](crate::Error::retry_after).
        CircuitOpen = "circuit_open",
        /// The call would have waited for this process's own rate limit for too long, and no attempt was made. Retryable, after
        /// [`Error::retry_after`](crate::Error::retry_after). Delivery waits instead, so it never has it.
        RateLimitExceeded = "rate_limit_exceeded",
    }
}

/// What an error means to the parts of this crate that act on it.
#[derive(Clone, Copy, Debug)]
pub struct Meaning {
    pub fate: Fate,
    pub suspicion: Option<Suspicion>,
    pub breaker: Breaker,
    pub alert: Option<AlertCause>,
    pub reason: Option<Reason>,
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

/// How the content of an event may cause it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// The service, or something on the way, refuses the event. It would refuse it again.
    Refusal,
    /// The service, or something on the way, fails on the event. It also fails without a cause in the event.
    Failure,
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

named! {
    /// The trouble for which alerts count attempts.
    pub enum AlertCause {
        /// PostHog fails or does not answer, or another server answers in its place.
        ApiDown = "unavailable",
        /// 429.
        RateLimited = "throttled",
        /// 401, 403.
        AuthFailures = "unauthorized",
        /// 402, or a 2xx that reports the quota as exceeded.
        QuotaExceeded = "quota",
        /// The attempt took too long, whatever its result.
        HighLatency = "slow",
    }
}

impl ErrorKind {
    /// The one table. Whoever acts on an error reads its row, and the table in the docs above is compared with it.
    #[rustfmt::skip]
    pub(crate) const fn meaning(self) -> Meaning {
        use AlertCause::{ApiDown, AuthFailures};
        use Breaker::{Failure, Ignored, NotAttempted, Success};
        use Fate::{Retry, SlowDown, Split, Stop};
        use Reason::{RejectedEvents, ServerError, Unreachable};
        let (fate, suspicion, breaker, alert, reason, text) = match self {
            Self::Connect => (Retry, None, Failure, Some(ApiDown), Some(Unreachable), "cannot connect"),
            Self::Dns => (Retry, None, Failure, Some(ApiDown), Some(Unreachable), "cannot resolve the host name"),
            Self::Tls => (Retry, None, Failure, Some(ApiDown), Some(Unreachable), "cannot set up a secure connection"),
            Self::Timeout => (Retry, Some(Suspicion::Failure), Failure, Some(ApiDown), Some(Unreachable), "no answer in time"),
            Self::ConnectionLost => (Retry, Some(Suspicion::Failure), Failure, Some(ApiDown), Some(Unreachable), "the connection broke off"),
            Self::TruncatedResponse => (Retry, Some(Suspicion::Failure), Failure, Some(ApiDown), Some(Unreachable), "the answer broke off"),
            Self::Server => (Retry, Some(Suspicion::Failure), Failure, Some(ApiDown), Some(ServerError), "the service is in trouble"),
            Self::RateLimited => (SlowDown, None, Ignored, Some(AlertCause::RateLimited), Some(Reason::RateLimited), "too many requests"),
            Self::Unauthorized => (Stop, None, Success, Some(AuthFailures), Some(Reason::Unauthorized), "the token is not accepted"),
            Self::Forbidden => (Stop, None, Success, Some(AuthFailures), Some(Reason::Unauthorized), "the token lacks the permission"),
            Self::QuotaExceeded => (Stop, None, Success, Some(AlertCause::QuotaExceeded), Some(Reason::QuotaExceeded), "over the billing quota"),
            Self::WrongHost => (Stop, Some(Suspicion::Refusal), Success, Some(ApiDown), Some(Reason::WrongHost), "something else answers in the service's place"),
            Self::BadRequest => (Split, Some(Suspicion::Refusal), Success, None, Some(RejectedEvents), "the request is rejected as malformed"),
            Self::TooLarge => (Split, Some(Suspicion::Refusal), Success, None, Some(RejectedEvents), "the request is rejected as too large"),
            Self::CircuitOpen => (Retry, None, NotAttempted, None, None, "circuit breaker open"),
            Self::RateLimitExceeded => (Retry, None, NotAttempted, None, None, "rate limit exceeded"),
        };
        Meaning { fate, suspicion, breaker, alert, reason, text }
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
        let rows =
            include_str!("kind.rs").lines().map(str::trim_start).filter(|line| line.starts_with("/// | `"));
        let documented: Vec<_> = rows.map(|line| line.trim_start_matches("/// ").to_owned()).collect();
        let table = ErrorKind::ALL.map(|kind| {
            let (name, Meaning { fate, suspicion, breaker, alert, reason, .. }) =
                (kind.as_str(), kind.meaning());
            let retryable = if crate::Error::new(kind).is_retryable() { "yes" } else { "no" };
            let suspicion = suspicion.map_or(String::new(), |suspicion| format!(" {suspicion:?}"));
            let alert = alert.map_or(String::new(), |alert| format!(" {alert:?}"));
            let reason = reason.map_or(String::new(), |reason| format!(" {reason:?}"));
            format!("| `{name}` | {retryable} | {fate:?} |{suspicion} | {breaker:?} |{alert} |{reason} |")
        });
        assert_eq!(documented, table);
    }
}

use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderValue, StatusCode};

/// Why a webhook is not let in.
///
/// Shows no secret, no signature and nothing of the body, so it can be logged as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// A header is not there: not signed at all, or not by PostHog. 401.
    #[error("no {0} header")]
    MissingHeader(HeaderName),
    /// A header is there more than once, or cannot be what it should be. 400.
    #[error("malformed {0} header")]
    MalformedHeader(HeaderName),
    /// Sent too long ago: a replay, or a clock that is wrong here or there. 401.
    #[error("sent too long ago")]
    TooOld,
    /// Sent too far in the future: a clock is wrong here or there. 401.
    #[error("sent too far in the future")]
    TooNew,
    /// No signature is that of a secret that we have: forged, changed on its way, or another secret. 401.
    #[error("no signature matches")]
    BadSignature,
    /// The header does not have the shared secret in it. 401.
    #[error("not the shared secret")]
    WrongSecret,
    /// The body is longer than allowed. 413.
    #[error("body of more than {limit} bytes")]
    BodyTooLarge {
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// The body broke off. 400.
    #[error("body cannot be read")]
    BodyUnreadable,
    /// The same webhook is being handled at this moment: how that ends is not known yet. 503 with `Retry-After`: PostHog
    /// tries again.
    #[error("the same webhook is being handled")]
    UnderWay,
}

/// PostHog gives a webhook up after 10 s, so a copy of one that is still being handled mostly means a slow handler. It
/// tries three times in all: the next one should not come too early.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

impl WebhookError {
    /// What the layer answers: 401 for what is not authentic, 400 for what no sender would send, 413 for too much, 503
    /// for what may be tried again. PostHog tries again after 503 only.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::MissingHeader(_) | Self::TooOld | Self::TooNew | Self::BadSignature | Self::WrongSecret => {
                StatusCode::UNAUTHORIZED
            }
            Self::MalformedHeader(_) | Self::BodyUnreadable => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnderWay => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A word for it: all that the answer's body says.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingHeader(_) => "missing_header",
            Self::MalformedHeader(_) => "malformed_header",
            Self::TooOld => "too_old",
            Self::TooNew => "too_new",
            Self::BadSignature => "bad_signature",
            Self::WrongSecret => "wrong_secret",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodyUnreadable => "body_unreadable",
            Self::UnderWay => "under_way",
        }
    }

    pub(super) fn retry_after(&self) -> Option<HeaderValue> {
        matches!(self, Self::UnderWay).then(|| HeaderValue::from(AGAIN_AFTER.as_secs()))
    }
}

use http::StatusCode;
use http::header::HeaderName;

/// Why a webhook is refused.
///
/// The error contains no secret, no signature and nothing of the body, so it is safe to log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// A header is missing: the request is not signed, or not sent by PostHog. 401.
    #[error("no {0} header")]
    MissingHeader(HeaderName),
    /// A header occurs more than once or does not parse. 400.
    #[error("malformed {0} header")]
    MalformedHeader(HeaderName),
    /// The webhook was sent too long ago: a replay, or a clock is wrong on one side. 401.
    #[error("sent too long ago")]
    TooOld,
    /// The webhook was sent in the future: a clock is wrong on one side. 401.
    #[error("sent too far in the future")]
    TooNew,
    /// No signature matches a known secret: the webhook was forged, changed in transit, or signed with another secret. 401.
    #[error("no signature matches")]
    BadSignature,
    /// The header does not contain the shared secret. 401.
    #[error("not the shared secret")]
    WrongSecret,
    /// The body exceeds the limit. 413.
    #[error("body of more than {limit} bytes")]
    BodyTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body ended early. 400.
    #[error("body cannot be read")]
    BodyUnreadable,
    /// Another copy of the webhook is being handled, and its result is not known yet. 503 with `Retry-After`, so that
    /// PostHog tries again.
    #[error("the same webhook is being handled")]
    InFlight,
}

impl WebhookError {
    /// Returns the status of the layer's answer: 401 if the webhook is not authentic, 400 if it is malformed, 413 if it is
    /// too large, and 503 if it may be sent again. Of these, PostHog retries 503 alone.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::MissingHeader(_) | Self::TooOld | Self::TooNew | Self::BadSignature | Self::WrongSecret => {
                StatusCode::UNAUTHORIZED
            }
            Self::MalformedHeader(_) | Self::BodyUnreadable => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::InFlight => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the stable code, which is the whole body of the answer.
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
            Self::InFlight => "under_way",
        }
    }
}

use crate::ErrorKind;
use crate::error::AlertCause;

/// The causes by which alerts count attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// PostHog fails or does not answer, or another server answers in its place.
    Unavailable,
    /// 429.
    Throttled,
    /// 401, 403.
    Unauthorized,
    /// 402, or a 2xx that reports the quota as exceeded.
    Quota,
    /// The attempt took too long, whatever its result.
    Slow,
}

impl Cause {
    pub const ALL: [Self; 5] =
        [Self::Unavailable, Self::Throttled, Self::Unauthorized, Self::Quota, Self::Slow];

    /// Returns `None` for a batch that was rejected: that is the batch's fault and not PostHog's.
    pub fn of(kind: ErrorKind) -> Option<Self> {
        Some(match kind.meaning().alert? {
            AlertCause::ApiDown => Self::Unavailable,
            AlertCause::RateLimited => Self::Throttled,
            AlertCause::AuthFailures => Self::Unauthorized,
            AlertCause::QuotaExceeded => Self::Quota,
        })
    }

    /// The value of the metrics' label.
    #[cfg(feature = "metrics")]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Throttled => "throttled",
            Self::Unauthorized => "unauthorized",
            Self::Quota => "quota",
            Self::Slow => "slow",
        }
    }

    /// The words of an alert's detail.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Unavailable => "failed attempts",
            Self::Throttled => "answers that ask for fewer requests",
            Self::Unauthorized => "refusals of the token",
            Self::Quota => "answers that say over quota",
            Self::Slow => "slow attempts",
        }
    }
}

use crate::ErrorKind;
use crate::error::AlertCause;

/// What alerts count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// PostHog is in trouble, does not answer, or something else answers.
    Unavailable,
    /// 429.
    Throttled,
    /// 401, 403.
    Unauthorized,
    /// 402, or a 2xx that says so.
    Quota,
    /// It took too long, whatever came of it.
    Slow,
}

impl Cause {
    pub(super) const ALL: [Self; 5] =
        [Self::Unavailable, Self::Throttled, Self::Unauthorized, Self::Quota, Self::Slow];

    /// `None` for a batch that was rejected, which says nothing against PostHog.
    pub(super) fn of(kind: ErrorKind) -> Option<Self> {
        Some(match kind.meaning().alert? {
            AlertCause::ApiDown => Self::Unavailable,
            AlertCause::RateLimited => Self::Throttled,
            AlertCause::AuthFailures => Self::Unauthorized,
            AlertCause::QuotaExceeded => Self::Quota,
        })
    }

    /// As it stands in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Throttled => "throttled",
            Self::Unauthorized => "unauthorized",
            Self::Quota => "quota",
            Self::Slow => "slow",
        }
    }

    /// As it stands in an alert.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Unavailable => "failed attempts",
            Self::Throttled => "answers that ask for fewer requests",
            Self::Unauthorized => "refusals of the token",
            Self::Quota => "answers that say over quota",
            Self::Slow => "slow attempts",
        }
    }
}

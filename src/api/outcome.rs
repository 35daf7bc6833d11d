//! What an attempt asks for, read from the [table](crate::error).

use std::time::Duration;

use super::Accepted;
use crate::Error;
use crate::error::{Breaker, Fate};
use crate::layers::{Classify, Verdict};

/// What to do after an attempt to deliver a batch. The [`ErrorKind`](crate::ErrorKind) says what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// PostHog accepted the batch.
    Delivered,
    /// PostHog accepted the batch and discarded it, because the project is over its billing quota.
    Discarded,
    /// The network or PostHog is in trouble. Try again, no earlier than asked.
    Retry {
        /// The server's hint.
        after: Option<Duration>,
    },
    /// PostHog asks for fewer requests. Try again, no earlier than asked.
    SlowDown {
        /// The server's hint.
        after: Option<Duration>,
    },
    /// PostHog will never accept the batch as it is, but may accept parts of it.
    Split,
    /// PostHog will accept nothing until a person or a rotated key changes something. Keep the events, stop sending, and
    /// try again slowly.
    Stop,
}

impl Outcome {
    /// What this result asks for.
    pub fn of(result: Result<&Accepted, &Error>) -> Self {
        let error = match result {
            Ok(accepted) if accepted.over_quota => return Self::Discarded,
            Ok(_) => return Self::Delivered,
            Err(error) => error,
        };
        let after = error.retry_after();
        match error.kind().meaning().fate {
            Fate::Retry => Self::Retry { after },
            Fate::SlowDown => Self::SlowDown { after },
            Fate::Split => Self::Split,
            Fate::Stop => Self::Stop,
        }
    }
}

/// Tells the layers what an attempt to reach PostHog means.
#[derive(Clone, Copy, Debug, Default)]
pub struct PostHogClassifier;

impl<T> Classify<T, Error> for PostHogClassifier {
    fn classify(&self, result: Result<&T, &Error>) -> Verdict {
        let Err(error) = result else { return Verdict::Success };
        let retry_after = error.retry_after();
        match error.kind().meaning().breaker {
            Breaker::Failure => Verdict::Failed { retry_after },
            Breaker::Success => Verdict::Refused,
            Breaker::Ignored => Verdict::Throttled { retry_after },
            Breaker::NotAttempted => Verdict::NotAttempted,
        }
    }
}

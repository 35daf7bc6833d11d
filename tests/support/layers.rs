//! What several tests of the layers share: a service whose answers are verdicts.

use posthog_health::layers::{Classify, Verdict};
use posthog_health::{Error, ErrorKind};

/// Answers with the verdict itself; an error is a failure, a rejected call none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AsAnswered;

impl Classify<Verdict, Error> for AsAnswered {
    fn classify(&self, result: Result<&Verdict, &Error>) -> Verdict {
        match result {
            Ok(verdict) => *verdict,
            Err(error) if error.kind() == ErrorKind::CircuitOpen => Verdict::NotAttempted,
            Err(_) => FAILED,
        }
    }
}

pub(crate) const OK: Verdict = Verdict::Success;
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) const THROTTLED: Verdict = Verdict::Throttled { retry_after: None };
pub(crate) const FAILED: Verdict = Verdict::Failed { retry_after: None };

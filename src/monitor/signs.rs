use std::time::Duration;

use tokio::time::Instant;

use crate::error::{AlertCause, Breaker};
use crate::{Error, ErrorKind};

/// What the traffic shows at a glance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Signs {
    pub(crate) success: Option<Seen<()>>,
    pub(crate) error: Option<Seen<Failure>>,
    /// The latest 2xx said that the project is over its quota.
    pub(crate) over_quota: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<T> {
    pub(crate) at: Instant,
    pub(crate) latency: Duration,
    pub(crate) what: T,
}

/// An error without its cause: what can be shown to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) status: Option<u16>,
}

impl Failure {
    /// Whether the answer shows that PostHog is there and has time for us, as the breaker and the limiter see it.
    pub(super) fn shows_life(self) -> bool {
        let meaning = self.kind.meaning();
        // Something else than PostHog may answer.
        let is_posthogs = meaning.breaker == Breaker::Success && meaning.alert != Some(AlertCause::ApiDown);
        // Without a status, a body that is too large is a broken connection.
        is_posthogs && (self.kind != ErrorKind::TooLarge || self.status.is_some())
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind(), status: error.status() }
    }
}

impl Signs {
    /// What is wrong now: the latest error, unless a success came after it.
    pub(crate) fn standing_error(&self) -> Option<Failure> {
        let error = self.error?;
        let recovered = self.success.is_some_and(|success| success.at > error.at);
        (!recovered).then_some(error.what)
    }

    /// How long the latest attempt took.
    pub(crate) fn latency(&self) -> Option<Duration> {
        let success = self.success.map(|seen| (seen.at, seen.latency));
        let error = self.error.map(|seen| (seen.at, seen.latency));
        success.max(error).map(|(_, latency)| latency)
    }
}

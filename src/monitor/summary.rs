use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{AlertCause, Breaker};
use crate::{Error, ErrorKind};

/// The latest success and the latest error of the traffic to one surface.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub success: Option<Seen<()>>,
    pub error: Option<Seen<Failure>>,
    /// The beginning of PostHog's answer, if that error rejects events.
    pub rejection: Option<Arc<str>>,
    /// The latest 2xx said that the project is over its quota.
    pub over_quota: bool,
}

/// The end of an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Seen<T> {
    pub at: Instant,
    pub latency: Duration,
    pub what: T,
}

/// An error without its source and its answer: anybody may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: ErrorKind,
    pub status: Option<u16>,
}

impl Failure {
    /// Whether the answer proves that PostHog is up and has time for us. The breaker and the limiter judge likewise.
    pub fn proves_service_up(self) -> bool {
        let meaning = self.kind.meaning();
        // Another server may answer in PostHog's place.
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

impl Summary {
    /// The latest error, unless a success came after it.
    pub fn current_error(&self) -> Option<Failure> {
        let error = self.error?;
        let recovered = self.success.is_some_and(|success| success.at > error.at);
        (!recovered).then_some(error.what)
    }

    /// How long the latest attempt took.
    pub fn latency(&self) -> Option<Duration> {
        let success = self.success.map(|seen| (seen.at, seen.latency));
        let error = self.error.map(|seen| (seen.at, seen.latency));
        success.max(error).map(|(_, latency)| latency)
    }
}

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::layers::Observe;
use crate::outcome::{Accepted, causes};
use crate::{Error, ErrorKind};

/// What the traffic shows: the latest success and the latest error.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vitals(Arc<Mutex<Signs>>);

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

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind(), status: error.status() }
    }
}

impl Vitals {
    pub(crate) fn signs(&self) -> Signs {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Observe<Accepted, Error> for Vitals {
    fn attempt(&self, latency: Duration, result: Result<&Accepted, &Error>) {
        let at = Instant::now();
        let mut signs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(accepted) => {
                signs.success = Some(Seen { at, latency, what: () });
                signs.over_quota = accepted.over_quota;
            }
            Err(error) => signs.error = Some(Seen { at, latency, what: error.into() }),
        }
        drop(signs);
        match result {
            Ok(_) => tracing::debug!(?latency, "delivered"),
            Err(error) => tracing::debug!(?latency, cause = cause(error), "attempt failed: {error}"),
        }
    }
}

/// The innermost cause, which names what happened on the wire.
fn cause(error: &Error) -> Option<String> {
    causes(error).skip(1).last().map(ToString::to_string)
}

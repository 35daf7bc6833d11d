use serde::Serialize;
use serde::ser::SerializeStruct;

use crate::ErrorKind;

/// Why a report is degraded. In JSON a code for machines and a sentence for people:
/// `{"code":"unauthorized","detail":"PostHog does not accept …","runbook":"runbook.md#unauthorized"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The client is switched off: nothing is sent, everything is dropped.
    Disabled,
    /// `shutdown` was called.
    ShutDown,
    /// The delivery task is gone: the runtime that the client was built on has ended, or a bug.
    WorkerStopped,
    /// PostHog does not accept the token (401, 403), or a provider has given none yet. Events are kept.
    Unauthorized,
    /// Something answers that is not PostHog. Events are kept.
    WrongHost,
    /// Over the billing quota: PostHog discards events.
    QuotaExceeded,
    /// No answer: connection, name, TLS or timeout. Events are kept.
    Unreachable,
    /// PostHog answers with 5xx. Events are kept.
    ServerError,
    /// PostHog asks for fewer requests (429). Events are kept.
    RateLimited,
    /// Delivery waits for the circuit breaker.
    BreakerOpen,
    /// Events became dead letters within the last minute; they say why.
    RejectedEvents,
    /// Four fifths of the queue's events or bytes are in use.
    QueueFilling,
    /// The spool does not work; `spool.issue` says why. Events stay in memory.
    SpoolFailing,
    /// A spool file was damaged or is of a newer version; `spool.issue` says what to do.
    SpoolDamaged,
    /// The spool is full, four fifths full, or will be full within the hour.
    SpoolFilling,
    /// Events were lost within the last minute; the ledger says why.
    LosingEvents,
}

/// A code, what it means, and the section of the runbook that the code names.
macro_rules! section {
    ($code:literal, $detail:literal) => {
        ($code, $detail, concat!("runbook.md#", $code))
    };
}

impl Reason {
    const ALL: [Self; 16] = [
        Self::Disabled,
        Self::ShutDown,
        Self::WorkerStopped,
        Self::Unauthorized,
        Self::WrongHost,
        Self::QuotaExceeded,
        Self::Unreachable,
        Self::ServerError,
        Self::RateLimited,
        Self::BreakerOpen,
        Self::RejectedEvents,
        Self::QueueFilling,
        Self::SpoolFailing,
        Self::SpoolDamaged,
        Self::SpoolFilling,
        Self::LosingEvents,
    ];

    /// All reasons, for a runbook of your own.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    /// The word for machines.
    pub fn code(self) -> &'static str {
        self.words().0
    }

    /// What it means and what to do, for whoever is on call.
    pub fn detail(self) -> &'static str {
        self.words().1
    }

    /// The section about it in this crate's `docs`: `runbook.md#unauthorized`. Relative, so that it holds wherever you
    /// keep the pages.
    pub fn runbook(self) -> &'static str {
        self.words().2
    }

    pub(super) fn of(kind: ErrorKind) -> Option<Self> {
        use ErrorKind::*;
        match kind {
            Connect | Dns | Tls | Timeout | ConnectionLost | AnswerCutShort => Some(Self::Unreachable),
            Server => Some(Self::ServerError),
            RateLimited => Some(Self::RateLimited),
            Unauthorized | Forbidden => Some(Self::Unauthorized),
            QuotaExceeded => Some(Self::QuotaExceeded),
            WrongHost => Some(Self::WrongHost),
            BadRequest | TooLarge => Some(Self::RejectedEvents),
            CircuitOpen => None,
        }
    }

    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Disabled => section!("disabled", "the client is switched off: nothing is sent"),
            Self::ShutDown => section!("shut_down", "the client was shut down: nothing is sent any more"),
            Self::WorkerStopped => section!(
                "worker_stopped",
                "the delivery task is gone, its runtime has ended or lacks timers or I/O: restart"
            ),
            Self::Unauthorized => section!(
                "unauthorized",
                "PostHog does not accept the project token: check it; events are kept meanwhile"
            ),
            Self::WrongHost => section!(
                "wrong_host",
                "something answers that is not PostHog: check the host; events are kept meanwhile"
            ),
            Self::QuotaExceeded => section!(
                "quota_exceeded",
                "over PostHog's billing quota, events are discarded there: raise it or send less"
            ),
            Self::Unreachable => section!(
                "unreachable",
                "no answer from PostHog: check its status page and our network; events are kept"
            ),
            Self::ServerError => {
                section!(
                    "server_error",
                    "PostHog answers with errors: check its status page; events are kept"
                )
            }
            Self::RateLimited => {
                section!("rate_limited", "PostHog asks for fewer requests: delivery is slowed down")
            }
            Self::BreakerOpen => {
                section!("breaker_open", "delivery pauses while PostHog fails and resumes by itself")
            }
            Self::RejectedEvents => {
                section!(
                    "rejected_events",
                    "PostHog rejects events: the dead letters say why, mend what sends them"
                )
            }
            Self::QueueFilling => {
                section!(
                    "queue_filling",
                    "the queue is four fifths full: events will be lost if this goes on"
                )
            }
            Self::SpoolFailing => {
                section!(
                    "spool_failing",
                    "the spool does not work, events stay in memory: spool.issue says why"
                )
            }
            Self::SpoolDamaged => {
                section!(
                    "spool_damaged",
                    "a spool file was set aside or left alone: spool.issue says what to do"
                )
            }
            Self::SpoolFilling => {
                section!(
                    "spool_filling",
                    "the spool is full or will be within the hour: see why events do not leave"
                )
            }
            Self::LosingEvents => {
                section!("losing_events", "events were lost within the last minute: ledger.dropped says why")
            }
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut reason = serializer.serialize_struct("Reason", 3)?;
        reason.serialize_field("code", self.code())?;
        reason.serialize_field("detail", self.detail())?;
        reason.serialize_field("runbook", self.runbook())?;
        reason.end()
    }
}

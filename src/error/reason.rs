use serde::Serialize;

macro_rules! reasons {
    ($($(#[$doc:meta])* $id:ident $code:literal $detail:literal)*) => {
        /// Why a report is degraded. The JSON has a code for machines and a sentence for people:
        /// `{"code":"unauthorized","detail":"PostHog does not accept …","runbook":"runbook.md#unauthorized"}`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $id,)*
        }

        impl Reason {
            /// Returns all reasons, for a runbook of your own.
            pub fn all() -> impl Iterator<Item = Self> {
                [$(Self::$id,)*].into_iter()
            }

            /// Returns the stable code for machines.
            pub fn code(self) -> &'static str {
                match self { $(Self::$id => $code,)* }
            }

            /// Returns the meaning and the remedy, for the person on call.
            pub fn detail(self) -> &'static str {
                match self { $(Self::$id => $detail,)* }
            }

            /// Returns the reason's section in this crate's `docs`: `runbook.md#unauthorized`. The link is relative, so
            /// that it works wherever you keep the pages.
            pub fn runbook(self) -> &'static str {
                match self { $(Self::$id => concat!("runbook.md#", $code),)* }
            }
        }
    };
}

// The one list of reasons.
reasons! {
    /// The client is disabled: it sends nothing and drops every event.
    Disabled "disabled" "the client is switched off: nothing is sent"
    /// `shutdown` was called and delivers what is left. The other reasons hold for that.
    ShuttingDown "shutting_down" "the client is shutting down: it accepts no more events and delivers those it has"
    /// `shutdown` was called and has ended.
    ShutDown "shut_down" "the client was shut down: nothing is sent any more"
    /// The client's tasks have ended, because their runtime ended or because of a bug; or nobody drives them: the runtime
    /// does not run, is blocked, or belongs to the process that forked this one.
    WorkerStopped "worker_stopped" "the delivery task is gone or does not run: its runtime has ended, is blocked or never ran, or lacks timers or I/O: restart"
    /// PostHog refuses the token (401, 403), or the provider has not returned one yet. Events are kept.
    Unauthorized "unauthorized" "PostHog does not accept the project token: check it; events are kept meanwhile"
    /// Another server answers in PostHog's place. Events are kept.
    WrongHost "wrong_host" "something answers that is not PostHog: check the host; events are kept meanwhile"
    /// The project is over its billing quota, and PostHog discards events.
    QuotaExceeded "quota_exceeded" "over PostHog's billing quota, events are discarded there: raise it or send less"
    /// PostHog does not answer: connection, DNS, TLS or timeout. Events are kept.
    Unreachable "unreachable" "no answer from PostHog: check its status page and our network; events are kept"
    /// PostHog answers with 5xx. Events are kept.
    ServerError "server_error" "PostHog answers with errors: check its status page; events are kept"
    /// PostHog asks for fewer requests (429). Events are kept.
    RateLimited "rate_limited" "PostHog asks for fewer requests: delivery is slowed down"
    /// Delivery waits for the circuit breaker.
    BreakerOpen "breaker_open" "delivery pauses while PostHog fails and resumes by itself"
    /// Events became dead letters within the last minute. Each has the reason.
    RejectedEvents "rejected_events" "PostHog rejects events: the dead letters say why, mend what sends them"
    /// PostHog took an event within the last minute and updates no person for it: its distinct id is one that services send
    /// by mistake, such as `anonymous`, or too many events share it. Only capture V1 tells.
    PersonProcessingDisabled "person_processing_disabled" "PostHog stores events without their person: they share one distinct id, or it is a placeholder"
    /// Four fifths of the queue's events or bytes are in use.
    QueueFilling "queue_filling" "the queue is four fifths full: events will be lost if this goes on"
    /// The spool does not work, and events stay in memory. `spool.issue` has the reason.
    SpoolFailing "spool_failing" "the spool does not work, events stay in memory: spool.issue says why"
    /// A spool file was damaged or has a newer format. `spool.issue` names the remedy.
    SpoolDamaged "spool_damaged" "a spool file was set aside or left alone: spool.issue says what to do"
    /// The spool is full, four fifths full, or will be full within the hour.
    SpoolFilling "spool_filling" "the spool is full or will be within the hour: see why events do not leave"
    /// Events were lost within the last minute. The ledger has the reason.
    LosingEvents "losing_events" "events were lost within the last minute: ledger.dropped says why"
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([
            ("code", self.code()),
            ("detail", self.detail()),
            ("runbook", self.runbook()),
        ])
    }
}

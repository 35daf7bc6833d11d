//! PostHog for services, production-grade by construction.
//!
//! You keep writing `posthog.capture(event)` with [`posthog_rs`] events. This crate carries them through a bounded
//! queue that counts every event, backoff, a circuit breaker and a rate limit, and it answers
//! [`health_check`](PostHog::health_check) for your readiness route. PostHog can fail in any way without
//! your service noticing, no event is lost without being counted, and one look says what is wrong.
//!
//! ```no_run
//! use std::time::Duration;
//! use posthog_health::{Event, PostHog};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let posthog = PostHog::from_env().build()?; // POSTHOG_API_KEY, POSTHOG_HOST
//!
//!     let mut event = Event::new("order placed", "user-123");
//!     event.insert_prop("amount", 9.5)?;
//!     posthog.capture(event); // returns at once, always
//!
//!     println!("{}", posthog.health_check().await);
//!     posthog.shutdown(Duration::from_secs(5)).await; // last, before the process ends
//!     println!("{}", posthog.stats()); // captured=1 delivered=1 queued=0 dead_lettered=0 dropped=0
//!     Ok(())
//! }
//! ```
//!
//! You need no account to try it: the feature `testing` has a PostHog of your own, and the examples of
//! [`capture`](PostHog::capture) and of the other methods run against it.
//!
//! # The picture
//!
//! ```text
//!  your code ── capture(event) ─┐                      ┌─ health_check() ─ HealthReport ─ readiness route
//!                               ▼                      │  stats() ─ Ledger    alerts() ─ Alert    metrics ─ Prometheus
//!   admit ─► encode once ─► queue ─► batch ─► [ retry ► circuit breaker ► rate limit ► observe ► timeout ] ─► PostHog
//!                            │ ▲                                                                      │
//!                            ▼ │                                                                      │
//!                           spool ◄───── outcome: delivered │ retry │ split │ dead letter │ stop ◄────┘
//! ```
//!
//! `capture` encodes the event on the caller's thread and puts its bytes into the queue. One task on your tokio runtime
//! makes batches of them, and one more task for each request in flight sends them. A spool has a thread that touches the
//! disk and one that watches it, and [the SDK](#the-sdks-own-events) has a thread once you ask for it. The meaning of an
//! answer is decided once ([`Outcome`]); retry, breaker, limiter, ledger and health only read it. With
//! [`capture_protocol`](PostHogBuilder::capture_protocol), PostHog says of each event whether it stored it.
//!
//! # Guarantees
//!
//! Each has a test behind it. The [table in the README][failures] shows the cost of each failure of PostHog, and a test
//! checks it row by row.
//!
//! 1. [`capture`](PostHog::capture) never blocks, never panics and never fails the caller: test
//!    `capture_works_on_any_thread_whatever_posthog_does` in [`tests/delivery`]. It does no I/O and awaits nothing. The only
//!    foreign code that it runs are your own [`before_send`](PostHogBuilder::before_send) hooks, and it catches their panics:
//!    tests `hooks_change_and_drop_events_and_a_panicking_hook_costs_one` and `what_a_hook_panics_with_may_panic_too`. No log
//!    subscriber runs on the caller's thread: tests `no_subscriber_runs_on_the_thread_that_captures` and
//!    `no_subscriber_can_abort_the_process_from_within_capture`.
//! 2. Nothing vanishes uncounted: [`Ledger`]'s equation holds at every moment, test
//!    `the_ledger_balances_at_every_moment`; across [`shutdown`](PostHog::shutdown), test
//!    `shutdown_returns_at_its_deadline_whatever_posthog_does` in [`tests/lifecycle.rs`]; and with a
//!    [spool](#a-spool-on-disk) across `kill -9`, test `a_crash_costs_what_was_in_memory_only_and_it_is_counted` in
//!    [`tests/spool`]. The one exception are events that are in memory only and were captured in the last 20 ms before the
//!    kill, or in the last 10 s before a loss of power: no file had heard of them, and the next process does not count them.
//! 3. At-least-once, counted once: an event's uuid and timestamp are fixed when it is captured and never
//!    change; each attempt has a fresh `sent_at`. PostHog counts an event that arrives twice once: test
//!    `each_attempt_has_the_same_uuids_and_timestamps_and_a_fresh_sent_at` in [`tests/delivery`].
//! 4. One bad event costs one event, whatever it provokes: a 400, a 413, a firewall's 403, a 500. `capture` refuses an
//!    event that PostHog is known to reject. A batch that fails steps aside. If others are accepted meanwhile, it is halved
//!    until the bad event is alone, and that one becomes a [dead letter](PostHog::dead_letters): test
//!    `one_bad_event_costs_one_event_and_few_requests` in [`tests/dead_letters.rs`], and test
//!    `a_firewall_that_refuses_one_event_holds_up_no_other_and_blames_no_token` in [`tests/delivery`]. While nothing is
//!    accepted, no event is blamed.
//! 5. A PostHog outage uses bounded memory, does not turn into a storm of requests, and does not end in one: test
//!    `an_outage_loses_nothing_makes_no_storm_and_ends_by_itself` in [`tests/delivery`]. Nor does it make your service
//!    unready: test `degraded_is_ready_and_only_the_strict_route_says_503` in [`tests/routes.rs`].
//! 6. No request leaves that you did not cause, and the health probe is not billed: test
//!    `a_thousand_calls_cost_one_request_that_is_not_billed` and test `nothing_is_sent_that_nobody_asked_for` in
//!    [`tests/health.rs`].
//! 7. The project token appears in no `Debug`, `Display`, log, error, health report, metric or spool: test
//!    `no_secret_and_no_event_content_is_ever_shown` in [`tests/logs.rs`]. Plain `http://` goes only to this machine, or
//!    [when you ask](PostHogBuilder::allow_insecure_http): test `impossible_configurations_are_named_by_build`.
//!
//! # Where to look
//!
//! - **You write a service:** [`PostHog`], and [`PostHogBuilder`] for every default and its reason, [all in one
//!   table][defaults]; [`TypedEvent`] for events from structs; [`PostHog::flags`] and [`Flags`]; a [whole
//!   service][service] with its readiness route and an orderly end; `testing` (a feature), a PostHog on a real socket that
//!   can be told to fail, for your tests.
//! - **You are on call:** the [runbook] first, because each alert and each reason names its section there ([`AlertName::runbook`],
//!   [`Reason::runbook`]); then [rollback] and [escalation]. [`HealthReport`] and its [`Reason`]s, [`AlertsConfig`] for what
//!   fires when, [`DropReason`], [`ErrorKind`]. Log lines have the target `posthog_health` or a child of it
//!   (`posthog_health::alerts`, …); alerts are at error and warn, state changes at info or warn, once an episode, and attempts
//!   at debug. [A page][logging] lists the targets and every line.
//! - **You run the platform:** [`routes`] for probes and gates, [`RolloutVerdict`] for canaries, the feature `metrics` and the
//!   [table of metrics][metrics], [how to change a key][keys]; the feature `preflight`, the [go-live checklist][checklist]
//!   as code, and [`posthog-preflight`][preflight], the same as a command.
//! - **You protect another API:** [`layers`], ordinary tower layers over any service.
//! - **You receive PostHog's webhooks:** `webhook` (a feature), a tower layer that lets in what PostHog has signed, and
//!   [how to set it up][webhooks].
//! - **You change this crate:** [CONTRIBUTING][contributing] has the order of the modules, the walk of an event through the
//!   files, and how to run each kind of test.
//!
//! # A spool on disk
//!
//! With the feature `spool` and `PostHogBuilder::spool(SpoolConfig::at(directory))`, undelivered events go to a
//! file: what memory cannot hold, and what an outage or a shutdown leaves behind; or, with write-ahead, every
//! event before it is sent. They are delivered after a restart, alongside live events, which do not wait for
//! them. `capture_durable(event).await` resolves when the event is on disk. A disk that is full, damaged, missing or does
//! not answer stops nothing: events are sent from memory, health says so within seconds, and what can be read is read.
//!
//! Memory goes to disk at once while delivery pauses or the circuit breaker is open, and as soon as an event has waited two
//! seconds after it was due. It goes on for 30 s after the last such trouble.
//!
//! # Typed events
//!
//! [`TypedEvent`] takes any `Serialize` type as an event's properties and writes it straight to JSON, without a map of
//! values in between. It is the fast way in, with the same guarantees.
//!
//! # The SDK's own events
//!
//! [`sdk`](PostHog::sdk) is the inner [`posthog_rs::Client`], for feature flags and whatever else this crate has no method
//! for. It sends no event itself: a hook of ours receives each event that it makes and puts it into the queue. For daily
//! use there are methods here: [`alias`](PostHog::alias), [`group_identify`](PostHog::group_identify),
//! [`set`](PostHog::set), and with the feature `error-tracking` `capture_exception`. Only the last starts the SDK.
//!
//! # A new project token
//!
//! Give [`PostHog::builder`] a [`CredentialSource`] instead of a token, or name a file in `POSTHOG_API_KEY_FILE`. A new
//! token is then picked up without a restart, and no event is lost here. The [procedure][keys] has its own page.
//!
//! # Features
//!
//! A method that "is not found" may need one of these features; its page names the feature.
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `cli` | no | the command `posthog-preflight`; with it `preflight` and `spool` |
//! | `error-tracking` | no | `PostHog::capture_exception`: errors and panics, by the SDK's error tracking |
//! | `metrics` | no | what is counted, for the [recorder](https://docs.rs/metrics) that the service has installed |
//! | `preflight` | no | `PostHog::preflight`: the go-live checklist as code; with it `webhook` |
//! | `simulation` | no | nothing for a service: simulated time, threads and disk, for this crate's own tests |
//! | `spool` | no | `PostHogBuilder::spool`, `SpoolConfig`, `PostHog::capture_durable`: events on disk, in a [redb](https://docs.rs/redb) file |
//! | `testing` | no | `testing::FakePostHog`: an in-process PostHog for your tests |
//! | `webhook` | no | `webhook`: lets PostHog's webhooks in, and nobody else's |
//!
//! # Types of other crates in this API
//!
//! A new major version of one of these crates is a new major version of this crate. For a crate at 0.x, each new minor
//! version counts as a major one. All other dependencies may change in a minor release.
//!
//! | crate | visible here | where |
//! |---|---|---|
//! | `posthog-rs` 0.30, re-exported as [`posthog_rs`] | [`Event`], [`RequestContext`]; its client, options and error | [`PostHog`], [`PostHogBuilder`], [`Flags::attach`] |
//! | `http` 1, `http-body` 1 | requests, responses, headers, status; bodies | [`routes`], `webhook`, [`layers::retry_after`] |
//! | `bytes` 1, `http-body-util` 0.1 | `Bytes`; `Full` | [`routes`], `webhook`, `testing` |
//! | `tower` 0.5 | `Service`, `Layer`, `BoxError`, `retry::{Policy, Retry}` | [`layers`], [`routes`], `webhook`, [`Error`] |
//! | `reqwest` 0.13 | `Request`, `Response`, `Error`; not its `Client` | [`layers::HttpStatus`], [`layers::Replay`], [`Error`] |
//! | `tokio` 1 | `sync::watch::Receiver`, `time::Sleep`; its runtime | [`layers`] |
//! | `serde` 1, `serde_json` 1 | `Serialize`; `Value`, `Error` | [`TypedEvent`], [`PropertiesError`], [`FlagOptions`], [`Flags`], all that is reported |
//! | `uuid` 1 | `Uuid` | [`TypedEvent::with_uuid`] |
//!
//! Take `Event` from here, not from a `posthog-rs` of your own: then there is one. Not types, but met at run time, and so
//! of the same versions in your service: `tracing` 0.1 for log lines, `metrics` 0.24 for your recorder.
//!
//! [failures]: https://docs.rs/crate/posthog-health/latest/source/README.md
//! [defaults]: https://docs.rs/crate/posthog-health/latest/source/docs/defaults.md
//! [service]: https://docs.rs/crate/posthog-health/latest/source/examples/axum_service.rs
//! [runbook]: https://docs.rs/crate/posthog-health/latest/source/docs/runbook.md
//! [rollback]: https://docs.rs/crate/posthog-health/latest/source/docs/rollback.md
//! [escalation]: https://docs.rs/crate/posthog-health/latest/source/docs/escalation.md
//! [logging]: https://docs.rs/crate/posthog-health/latest/source/docs/logging.md
//! [metrics]: https://docs.rs/crate/posthog-health/latest/source/docs/metrics.md
//! [keys]: https://docs.rs/crate/posthog-health/latest/source/docs/key-rotation.md
//! [checklist]: https://docs.rs/crate/posthog-health/latest/source/docs/checklist.md
//! [preflight]: https://docs.rs/crate/posthog-health/latest/source/docs/preflight.md
//! [webhooks]: https://docs.rs/crate/posthog-health/latest/source/docs/webhooks.md
//! [contributing]: https://docs.rs/crate/posthog-health/latest/source/CONTRIBUTING.md
//! [`tests/delivery`]: https://docs.rs/crate/posthog-health/latest/source/tests/delivery/
//! [`tests/lifecycle.rs`]: https://docs.rs/crate/posthog-health/latest/source/tests/lifecycle.rs
//! [`tests/spool`]: https://docs.rs/crate/posthog-health/latest/source/tests/spool/
//! [`tests/dead_letters.rs`]: https://docs.rs/crate/posthog-health/latest/source/tests/dead_letters.rs
//! [`tests/routes.rs`]: https://docs.rs/crate/posthog-health/latest/source/tests/routes.rs
//! [`tests/health.rs`]: https://docs.rs/crate/posthog-health/latest/source/tests/health.rs
//! [`tests/logs.rs`]: https://docs.rs/crate/posthog-health/latest/source/tests/logs.rs

#![forbid(unsafe_code)]
// docs.rs shows beside each item which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
// Here and not in Cargo.toml, since tests and examples may.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
#[cfg(feature = "cli")]
mod cli;
mod client;
mod config;
mod credentials;
mod delivery;
mod error;
mod flags;
#[cfg(test)]
mod fuzz;
mod health;
mod monitor;
mod rt;
mod sdk;
#[cfg(feature = "simulation")]
mod simulation;

pub mod layers;
#[cfg(feature = "preflight")]
pub mod preflight;
pub mod routes;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "webhook")]
pub mod webhook;

pub use posthog_rs;
pub use posthog_rs::{Event, RequestContext};

pub use api::{Accepted, CaptureProtocol, Outcome, ProtocolReason};
#[cfg(feature = "cli")]
#[doc(hidden)]
pub use cli::preflight_main;
#[cfg(feature = "spool")]
pub use client::NotDurable;
pub use client::{FlushError, FlushFailure, PostHog, ShutdownReport};
pub use config::PostHogBuilder;
pub use credentials::{CredentialSource, CredentialsError};
pub use delivery::{
    AnyEvent, DeadLetter, DropReason, Drops, Ledger, Overflow, PropertiesError, QueueFill, SpoolHealth,
    SpoolIssue, SpoolState, TypedEvent,
};
#[cfg(feature = "spool")]
pub use delivery::{SpoolConfig, SpoolMode};
pub use error::{ConfigError, Error, ErrorKind};
pub use flags::{Flag, FlagOptions, FlagSource, Flags, FlagsConfig};
pub use health::{
    BreakerHealth, CaptureHealth, Connection, HealthReport, LastError, Reason, Status, Versions,
};
pub use monitor::{
    Alert, AlertName, AlertTransition, AlertTransitions, AlertsConfig, RolloutConfig, RolloutReason,
    RolloutVerdict, Severity, Surface,
};

#[cfg(feature = "simulation")]
#[doc(hidden)]
pub use simulation::simulate_main;

#[cfg(doctest)]
mod pages;

//! PostHog for services, production-grade by construction.
//!
//! You keep writing `posthog.capture(event)` with [`posthog_rs`] events. This crate carries them: through a
//! circuit breaker, a rate limit, backoff and a bounded queue that counts every event, and it answers
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
//!     Ok(())
//! }
//! ```
//!
//! # The picture
//!
//! ```text
//!  your code ── capture(event) ─┐                      ┌─ health_check() ─ HealthReport ─ readiness route
//!                               ▼                      │  stats() ─ Ledger    alerts() ─ Alert    metrics ─ Prometheus
//!   admit ─► queue ─► encode once ─► batch ─► [ retry ► circuit breaker ► rate limit ► observe ► timeout ] ─► PostHog
//!             │ ▲                                                                                     │
//!             ▼ │                                                                                     │
//!            spool ◄────────── outcome: delivered │ retry │ split │ dead letter │ stop ◄──────────────┘
//! ```
//!
//! Everything behind `capture` happens in one background task on your tokio runtime, and one more for each
//! request under way; a spool has a thread of its own, which alone touches the disk, and so has
//! [the SDK](#the-sdks-own-events), once it is asked for. What an answer means is decided once ([`Outcome`]); retry, breaker, limiter, ledger
//! and health only read it.
//!
//! # Guarantees
//!
//! 1. [`capture`](PostHog::capture) never blocks on I/O, never panics and never fails the caller.
//! 2. Nothing vanishes uncounted: [`Ledger`]'s equation holds at every moment, across
//!    [`shutdown`](PostHog::shutdown), and with a [spool](#a-spool-on-disk) across `kill -9`.
//! 3. At-least-once, counted once: an event's uuid and timestamp are fixed when it is captured and never
//!    change; each attempt has a fresh `sent_at`. PostHog counts an event that arrives twice once.
//! 4. One bad event costs one event: what PostHog would reject is refused at the door, and a batch that it
//!    rejects is halved until the bad event stands alone, as a [dead letter](PostHog::dead_letters).
//! 5. A PostHog outage uses bounded memory, does not turn into a storm of requests, and does not end in one.
//! 6. No request leaves that you did not cause, and the health probe is not billed.
//! 7. The project token appears in no `Debug`, `Display`, log, error, health report, metric or spool. Plain `http://`
//!    goes only to this machine, or [when you ask](PostHogBuilder::allow_insecure_http).
//!
//! # A spool on disk
//!
//! With the feature `spool` and `PostHogBuilder::spool(SpoolConfig::at(directory))`, undelivered events go to a
//! file: what memory cannot hold, and what an outage or a shutdown leaves behind; or, with write-ahead, every
//! event before it is sent. They are delivered after a restart, alongside live events, which do not wait for
//! them. `capture_durable(event).await` resolves when the event is on disk. A disk that is full, damaged or
//! missing stops nothing: events stay in memory, health says so, and what can be read is read.
//!
//! # Typed events
//!
//! [`TypedEvent`] takes any `Serialize` type as an event's properties and writes it straight to JSON: the fast way in, with
//! the same guarantees.
//!
//! # The SDK's own events
//!
//! [`sdk`](PostHog::sdk) is the inner [`posthog_rs::Client`], for feature flags and whatever else this crate has no method
//! for. It sends no event itself: a hook hands us each that it makes, and it goes the way of the others. What daily use
//! needs has a method here: [`alias`](PostHog::alias), [`group_identify`](PostHog::group_identify),
//! [`set`](PostHog::set), and with the feature `error-tracking` `capture_exception`. Only the last starts the SDK.
//!
//! # A new project token
//!
//! Give [`PostHog::builder`] a [`CredentialSource`] in the place of a token, or name a file in `POSTHOG_API_KEY_FILE`:
//! then a new token is used without a restart, and no event is lost here. `docs/key-rotation.md` has the procedure.
//!
//! # Where to look
//!
//! - **You write a service:** [`PostHog`], and [`PostHogBuilder`] for every default and its reason, all in `docs/defaults.md`.
//! - **You are on call:** `docs/runbook.md` first: each alert and each reason names its section of it
//!   ([`AlertName::runbook`], [`Reason::runbook`]); `docs/rollback.md`, `docs/escalation.md`. Then [`HealthReport`] and its
//!   [`Reason`]s, [`AlertsConfig`] for what fires when, [`DropReason`],
//!   [`ErrorKind`]. Log lines have the target `posthog_health`: alerts at error and warn, state changes at info or
//!   warn, once an episode; attempts at debug. `docs/logging.md` lists them.
//! - **You run the platform:** [`routes`] for probes and gates, [`RolloutVerdict`] for canaries, the feature `metrics` and
//!   `docs/metrics.md`.
//! - **You go live:** the feature `preflight` and `docs/checklist.md`; `posthog-preflight` is the same as a command.
//! - **You use feature flags:** [`PostHog::flags`] and [`Flags`].
//! - **You test:** `testing` (a feature), a PostHog on a real socket that can be told to fail.
//! - **You protect another API:** [`layers`], ordinary tower layers over any service.
//! - **You receive PostHog's webhooks:** `webhook` (a feature), a tower layer that lets in what PostHog has signed.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `cli` | no | the command `posthog-preflight`; with it `preflight` and `spool` |
//! | `error-tracking` | no | `PostHog::capture_exception`: errors and panics, by the SDK's error tracking |
//! | `metrics` | no | what is counted, for the [recorder](https://docs.rs/metrics) that the service has installed |
//! | `preflight` | no | `PostHog::preflight`: the go-live checklist as code; with it `webhook` |
//! | `spool` | no | `SpoolConfig`, `PostHog::capture_durable`: events on disk, in a [redb](https://docs.rs/redb) file |
//! | `testing` | no | `testing::FakePostHog`: an in-process PostHog for your tests |
//! | `webhook` | no | `webhook`: lets PostHog's webhooks in, and nobody else's |
//!
//! # Types of other crates in this API
//!
//! `posthog_rs` (re-exported: [`Event`], [`RequestContext`]; its client, options and errors as [`posthog_rs`]), `tower` and `tokio::sync::watch` in [`layers`], `tower`,
//! `http` and `http_body` in [`routes`] and `webhook`, `bytes` and `http_body_util::Full` in `webhook`,
//! `serde::Serialize`, `serde_json::Error` and `uuid::Uuid` in [`TypedEvent`] and [`PropertiesError`], `serde_json::Value` in [`FlagOptions`] and [`Flags`], `reqwest`'s request, response and error in [`layers::HttpStatus`], [`layers::Replay`] and [`Error`]. A new
//! major version of one of these is a new major version of this crate.

#![forbid(unsafe_code)]
// Here and not in Cargo.toml, since tests and examples may.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod aside;
mod client;
mod config;
mod credentials;
mod delivery;
mod episode;
mod error;
mod flags;
#[cfg(test)]
mod fuzz;
mod health;
mod monitor;
mod outcome;
mod sdk;
mod transport;

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

#[cfg(feature = "spool")]
pub use client::NotDurable;
pub use client::{FlushTimeout, PostHog, ShutdownReport};
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
pub use health::{BreakerHealth, Connection, HealthReport, LastError, Reason, Status, Versions};
pub use monitor::{
    Alert, AlertName, AlertTransition, AlertTransitions, AlertsConfig, RolloutConfig, RolloutReason,
    RolloutVerdict, Severity, Surface,
};
pub use outcome::{Accepted, Outcome};

/// The README's snippets, compiled and run with the documentation's.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../README.md")]
struct Readme;

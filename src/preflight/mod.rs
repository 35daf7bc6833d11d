//! The go-live checklist as code.
//!
//! ```no_run
//! # use posthog_health::PostHog;
//! # async fn example() {
//! let report = PostHog::from_env().preflight().docs("docs").await;
//! println!("{report}"); // item by item; serde_json::to_string(&report) for machines
//! std::process::exit(report.exit_code(true).into());
//! # }
//! ```
//!
//! [`PostHog::preflight`] checks a running client, [`PostHogBuilder::preflight`] a configuration that may be impossible to
//! build. The command `posthog-preflight` (feature `cli`) does the latter, for pipelines and init containers.
//! `docs/preflight.md` has its options and two sample reports.
//!
//! # What it promises
//!
//! - **The whole checklist.** Each [`Item`] is reported in its order: with its checks, with the properties that the library
//!   guarantees by construction and the tests that show them, and with the part that is left to a person.
//! - **It ends.** All checks run concurrently, each within its own time limit, the whole within 15 s. A check that hangs
//!   fails and delays no other.
//! - **It costs nothing.** PostHog bills none of its requests, and no event is sent unless you
//!   [ask for one](Preflight::send_test_event). The personal key goes only to PostHog's app host, over HTTPS unless that is
//!   this machine.
//! - **It can be pasted.** A report contains no secret.
//!
//! # How it works
//!
//! ```text
//!  Preflight ─► Target (token, host, settings) ─► groups of checks, concurrently ─► PreflightReport
//!                                                   facts (I/O) ─► judgement (pure) ─► Pass │ Warn │ Fail │ Skipped
//! ```
//!
//! [`PostHog::preflight`]: crate::PostHog::preflight
//! [`PostHogBuilder::preflight`]: crate::PostHogBuilder::preflight

mod answers;
mod builder;
mod capacity;
mod capture_v1;
mod check;
mod checklist;
mod clock;
mod concurrent;
mod configuration;
mod documents;
#[cfg(test)]
mod fuzz;
mod health_route;
mod http;
mod integration;
mod key_scopes;
mod logs;
mod probes;
mod reachability;
mod report;
mod run;
mod secret_files;
mod spool;
mod status_page;
mod table;
mod target;
mod test_event;
mod timeouts;
mod tls;
mod webhook;

pub use builder::Preflight;
pub use check::{Check, CheckId, CheckStatus};
pub use checklist::{CHECKLIST, Construction, Item, Section};
pub use report::{Counts, PreflightReport, PreflightVerdict};
use run::run;

//! Feature flags that degrade: an answer always, fast, and with the source of each value.
//!
//! ```text
//!  flags(person) ─► local evaluation, if it is on: all of them? ─ yes ─► local
//!                        │ no
//!                        ▼
//!                  breaker closed? ─ yes ─► [ circuit breaker ► observe ► timeout ] ─► /flags ─► remote
//!                        │ no                                                    │ no answer, or a part of one
//!                        ▼                                                       ▼
//!                  last known good of that person, by age ───────────────► your default
//! ```
//!
//! - With [local evaluation](crate::PostHogBuilder::local_evaluation) PostHog is asked for a person only while the
//!   definitions are not there yet, and when a flag needs what is not known here; what could be evaluated here stands.
//! - A request takes [`FlagsConfig::timeout`] at most, 1 s by default, and is not repeated. Callers who ask the same at
//!   the same time share one.
//! - While the breaker is not closed nobody waits: callers get what is known at once, and one request in the background
//!   finds out whether PostHog is back.
//! - What was answered is kept for each person and everything that can change the answer (groups, properties, keys), and
//!   stands in for a missing answer for [`FlagsConfig::last_known_good`].
//! - With a spool, that survives a restart: a process that starts in an outage answers as the one before it did.
//! - Flags have a breaker of their own: they go on when capture fails, and the other way round.
//!
//! # Billing
//!
//! Each call of [`flags`](crate::PostHog::flags) that is answered remotely is a billed request, as with the SDK. Keep
//! the [`Flags`] for as long as they serve, a web request for example.

mod answer;
mod called;
mod config;
mod definitions;
mod evaluated;
mod flag;
#[cfg(test)]
mod fuzz;
#[cfg_attr(not(feature = "spool"), path = "no_kept.rs")]
mod kept;
mod known;
mod local;
mod options;
mod road;
mod snapshot;
mod stack;
mod under_way;

pub use config::FlagsConfig;
pub use flag::{Flag, FlagSource};
pub use options::FlagOptions;
pub(crate) use road::{FlagsParts, FlagsRoad};
pub use snapshot::Flags;

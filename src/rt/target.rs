//! The targets of log lines and spans.
//!
//! Users filter by target, so targets are public names: stable, listed in `docs/logging.md`, and independent of the
//! module that a line stands in. Every event and span of this crate names one of them with `target:`, because
//! `tracing` falls back to the module's path otherwise. `tests/logging_page.rs` checks that none is forgotten.
//!
//! A filter on a target includes its children, so `posthog_health=warn` covers all of them.

/// The client's life, and whatever has no target of its own.
pub const CLIENT: &str = "posthog_health";

/// Alerts that fire or are resolved.
pub const ALERTS: &str = "posthog_health::alerts";

/// The project token and the secret key: replaced, or not to be had.
pub const CREDENTIALS: &str = "posthog_health::credentials";

/// An event's path from the queue to PostHog.
pub const DELIVERY: &str = "posthog_health::delivery";

/// Feature flags, including those that are persisted.
#[cfg(feature = "spool")]
pub const FLAGS: &str = "posthog_health::flags";

/// Circuit breaker, rate limit and retry, also around services other than PostHog.
pub const LAYERS: &str = "posthog_health::layers";

/// One line for each request to PostHog: attempts and probes.
pub const REQUESTS: &str = "posthog_health::requests";

/// Events on disk.
#[cfg(feature = "spool")]
pub const SPOOL: &str = "posthog_health::spool";

/// Incoming webhooks.
#[cfg(feature = "webhook")]
pub const WEBHOOK: &str = "posthog_health::webhook";

//! The pages' Rust, compiled and run with the documentation's. `tests/snippets.rs` sees that no page with Rust is missing.

#[cfg(all(feature = "spool", feature = "testing", feature = "webhook"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[doc = include_str!("../docs/metrics.md")]
struct Metrics;

#[cfg(feature = "preflight")]
#[doc = include_str!("../docs/preflight.md")]
struct Preflight;

#[cfg(feature = "webhook")]
#[doc = include_str!("../docs/webhooks.md")]
struct Webhooks;

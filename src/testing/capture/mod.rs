//! Capture: what PostHog makes of events.
//!
//! One file or folder for each protocol. They follow the capture server's source: V0 that of June 2024, which a running
//! server confirmed, and V1 that of 2026.

pub mod v0;
pub mod v1;

mod body;
mod verdict;

pub use body::{Undecodable, decode_v0, decode_v1, events, gunzip};
pub use verdict::{Pick, Verdict};

/// Capture checks the token's shape alone. Returns what is wrong with it.
fn flaw_of(token: &str) -> Option<&'static str> {
    match token {
        "" => Some("empty"),
        _ if token.len() > 64 => Some("too_long"),
        _ if !token.is_ascii() => Some("not_ascii"),
        _ if token.starts_with("phx_") => Some("personal_api_key"),
        _ => None,
    }
}

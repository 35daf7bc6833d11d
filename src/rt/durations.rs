//! Durations in JSON, as whole milliseconds.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// Returns whole milliseconds, capped at `u64::MAX`.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// For `#[serde(serialize_with)]`.
pub fn serialize_ms<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    millis(*duration).serialize(serializer)
}

/// For `#[serde(serialize_with)]`.
pub fn serialize_optional_ms<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    duration.map(millis).serialize(serializer)
}

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What was found of a flag, by PostHog or by its definition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Evaluated {
    pub(super) enabled: bool,
    pub(super) variant: Option<String>,
    pub(super) payload: Option<Value>,
    pub(super) id: Option<u64>,
    pub(super) version: Option<u64>,
    pub(super) reason: Option<String>,
}

/// A payload is JSON, sometimes as text.
pub(super) fn parsed(payload: Value) -> Value {
    match payload {
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        other => other,
    }
}

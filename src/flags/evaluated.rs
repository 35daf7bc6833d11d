use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A flag's value for one person, evaluated by PostHog or by the flag's definition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    pub enabled: bool,
    pub variant: Option<String>,
    pub payload: Option<Value>,
    pub id: Option<u64>,
    pub version: Option<u64>,
    pub reason: Option<String>,
}

/// Parses a payload, which PostHog sends as JSON or as a string of JSON.
pub fn parsed(payload: Value) -> Value {
    match payload {
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        other => other,
    }
}

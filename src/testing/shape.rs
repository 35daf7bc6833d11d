//! The parts of a body that the rules need: parsed once, strictly, and with little memory.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use uuid::Uuid;

#[derive(Deserialize)]
pub struct Batch {
    pub api_key: Option<String>,
    pub batch: Vec<Event>,
}

#[derive(Deserialize)]
pub struct Event {
    pub event: String,
    /// Any value but null: PostHog turns it into text.
    pub distinct_id: Option<Value>,
    pub uuid: Option<String>,
    #[serde(default, rename = "properties")]
    _properties: Object,
    #[serde(default, rename = "timestamp")]
    _timestamp: Option<String>,
}

#[derive(Deserialize)]
pub struct Evaluation {
    pub api_key: Option<String>,
    pub distinct_id: Option<Value>,
    #[serde(default)]
    pub disable_flags: bool,
}

/// Reads a body; the error says what is wrong with it.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    // All of it, also the parts that serde would skip unchecked.
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// The events of a good batch.
pub fn events(body: &[u8]) -> Vec<Value> {
    #[derive(Default, Deserialize)]
    struct Events {
        batch: Vec<Value>,
    }
    serde_json::from_slice::<Events>(body).unwrap_or_default().batch
}

/// Reads 32 hexadecimal digits, with or without the usual hyphens. The crate reads other spellings too, which PostHog refuses.
pub fn parse_uuid(text: &str) -> Option<Uuid> {
    if matches!(text.len(), 32 | 36) { Uuid::try_parse(text).ok() } else { None }
}

/// A JSON object, checked to its depths as PostHog checks it, and thrown away member by member.
///
/// serde's `IgnoredAny` would be quicker, but lets lone surrogates and numbers out of range pass.
#[derive(Default)]
struct Object;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        while map.next_entry::<String, Value>()?.is_some() {}
        Ok(Object)
    }
}

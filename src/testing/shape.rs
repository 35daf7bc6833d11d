//! The parts of a body that the rules need: parsed once, strictly, and with little memory.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

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

/// A JSON object, checked to its depths as PostHog checks it, and thrown away member by member, but for the two in which V0
/// looks for what the event itself lacks.
///
/// serde's `IgnoredAny` would be quicker, but lets lone surrogates and numbers out of range pass.
#[derive(Default)]
pub struct Object {
    pub token: Option<Value>,
    pub distinct_id: Option<Value>,
}

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
        let mut object = Object::default();
        while let Some(key) = map.next_key::<String>()? {
            let value: Option<Value> = map.next_value()?;
            match key.as_str() {
                "token" => object.token = value,
                "distinct_id" => object.distinct_id = value,
                _ => {}
            }
        }
        Ok(object)
    }
}

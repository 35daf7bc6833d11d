//! The parts of a body that the rules need: parsed once, strictly, and with little memory.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

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
    // All of it, also the parts that serde would skip without a look.
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

/// 32 hexadecimal digits, with or without the usual hyphens.
pub fn parse_uuid(text: &str) -> Option<u128> {
    let hyphen = |at: usize| text.len() == 36 && matches!(at, 8 | 13 | 18 | 23);
    if text.len() != 36 && text.len() != 32 {
        return None;
    }
    text.bytes().enumerate().try_fold(0, |uuid, (at, byte)| {
        if hyphen(at) {
            return (byte == b'-').then_some(uuid);
        }
        let digit = char::from(byte).to_digit(16)?;
        Some(uuid << 4 | u128::from(digit))
    })
}

pub fn format_uuid(uuid: u128) -> String {
    let digits = format!("{uuid:032x}");
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32];
    groups.map(|group| &digits[group]).join("-")
}

/// A JSON object, checked to its depths as PostHog checks it, and thrown away.
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
        while map.next_entry::<Checked, Checked>()?.is_some() {}
        Ok(Object)
    }
}

/// Any JSON value, likewise.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CheckedVisitor)
    }
}

struct CheckedVisitor;

impl<'de> Visitor<'de> for CheckedVisitor {
    type Value = Checked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_str<E>(self, _: &str) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Checked, A::Error> {
        while seq.next_element::<Checked>()?.is_some() {}
        Ok(Checked)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Checked, A::Error> {
        ObjectVisitor.visit_map(map).map(|Object| Checked)
    }
}

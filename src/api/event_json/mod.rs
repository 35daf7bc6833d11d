//! The forms that an event has in capture V0 and V1.
//!
//! An event is encoded once, in V0's form. V1 wants a few properties in other places, which [`LIFTED`] lists, so the encoder
//! writes those last:
//!
//! ```json
//! {"uuid":"…","event":"…","distinct_id":"…","properties":{"mine":1,"$session_id":"…"},"timestamp":"…"}
//! ```
//!
//! V0 takes these bytes as they are, and so does an earlier version of this crate that finds them in its spool after a
//! rollback. [`write_v1`] makes V1's form without a parser: it goes backwards from the event's end and moves properties as
//! long as the last one is to be lifted. An event in which one may be elsewhere is parsed. That is what an earlier version
//! spooled, or one whose own properties hold such a name deeper inside.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use memchr::{memchr_iter, memrchr, memrchr_iter};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// A property that V1 wants outside `properties`.
#[derive(Debug)]
pub struct Lifted {
    pub property: &'static str,
    in_v1: &'static str,
    kind: Kind,
}

#[derive(Debug, PartialEq)]
enum Kind {
    /// A text beside `properties`.
    Text,
    /// A text in `options`.
    TextOption,
    /// A boolean in `options`, or what stands for one.
    BoolOption,
}

/// In the order in which V1's form has them.
pub const LIFTED: [Lifted; 6] = [
    Lifted { property: "$session_id", in_v1: "session_id", kind: Kind::Text },
    Lifted { property: "$window_id", in_v1: "window_id", kind: Kind::Text },
    Lifted { property: "$cookieless_mode", in_v1: "cookieless_mode", kind: Kind::BoolOption },
    Lifted { property: "$ignore_sent_at", in_v1: "disable_skew_correction", kind: Kind::BoolOption },
    Lifted { property: "$product_tour_id", in_v1: "product_tour_id", kind: Kind::TextOption },
    Lifted { property: "$process_person_profile", in_v1: "process_person_profile", kind: Kind::BoolOption },
];

/// The place of a property in [`LIFTED`].
#[inline]
pub fn lifted(property: &str) -> Option<usize> {
    LIFTED.iter().position(|lifted| lifted.property == property)
}

/// Whether a text that begins with `$` begins with the name of a property to lift.
#[inline]
pub fn begins_with_lifted(text: &[u8]) -> bool {
    matches!(text.get(1), Some(b'c' | b'i' | b'p' | b's' | b'w'))
        && LIFTED.iter().any(|lifted| text.starts_with(lifted.property.as_bytes()))
}

/// Appends V1's form of an encoded event. What is no JSON object is appended as it is.
///
/// A lifted value that has the wrong type, and cannot be read as the right one, is left out: V1 refuses a whole batch for
/// a wrong type in `options`.
pub fn write_v1(event: &[u8], out: &mut Vec<u8>) {
    let mut lifts = Lifts::default();
    match split_at_end_of_properties(event) {
        Some((properties, end)) => {
            let kept = lifts.take_from_end(properties);
            if mentions_lifted(kept) {
                return write_parsed(event, out);
            }
            out.extend_from_slice(kept);
            out.extend_from_slice(end);
            out.pop();
            lifts.write(out);
        }
        None => write_parsed(event, out),
    }
}

/// Whether this is one of PostHog's AI events, which keep to V0.
pub fn is_ai(event: &[u8]) -> bool {
    event.get(UUID.end..).is_some_and(|rest| rest.starts_with(br#"","event":"$ai_"#))
}

/// The uuid of an encoded event, as it stands there. `None` if the event was not made by this crate's encoder.
pub fn uuid_of(event: &[u8]) -> Option<&[u8]> {
    event.starts_with(br#"{"uuid":""#).then(|| event.get(UUID)).flatten()
}

/// Where an event has its uuid.
const UUID: Range<usize> = {
    let begin = r#"{"uuid":""#.len();
    begin..begin + "00000000-0000-0000-0000-000000000000".len()
};

/// Splits an event before the end of its properties: `},"timestamp":"…"}`. A quote inside a text has a backslash before it,
/// so these are the event's own members and no text that looks like them.
fn split_at_end_of_properties(event: &[u8]) -> Option<(&[u8], &[u8])> {
    let quote = memrchr(b'"', event.strip_suffix(b"\"}")?)?;
    let properties = event[..quote].strip_suffix(b"},\"timestamp\":")?;
    Some(event.split_at(properties.len()))
}

fn mentions_lifted(json: &[u8]) -> bool {
    memchr_iter(b'$', json).any(|at| begins_with_lifted(&json[at..]))
}

/// The values of [`LIFTED`] that an event has.
#[derive(Default)]
struct Lifts<'a>([Option<&'a [u8]>; LIFTED.len()]);

impl<'a> Lifts<'a> {
    /// Takes them off the end of an object that is open, and returns the rest.
    fn take_from_end(&mut self, mut json: &'a [u8]) -> &'a [u8] {
        while let Some((rest, at, value)) = last_lifted(json) {
            // The last one of a name counts.
            self.0[at].get_or_insert(value);
            json = rest;
        }
        json
    }

    /// Writes what follows `timestamp`, and closes the event.
    fn write(self, out: &mut Vec<u8>) {
        let mut options = Vec::new();
        for (Lifted { in_v1, kind, .. }, value) in LIFTED.iter().zip(self.0) {
            let Some(value) = value.and_then(|value| kind.coerce(value)) else { continue };
            let out = if *kind == Kind::Text { &mut *out } else { &mut options };
            for part in [b",\"", in_v1.as_bytes(), b"\":", value] {
                out.extend_from_slice(part);
            }
        }
        out.extend_from_slice(b",\"options\":{");
        out.extend_from_slice(options.strip_prefix(b",").unwrap_or_default());
        out.extend_from_slice(b"}}");
    }
}

impl Kind {
    fn coerce<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::Text | Self::TextOption => value.starts_with(b"\"").then_some(value),
            Self::BoolOption if as_bool(value)? => Some(b"true"),
            Self::BoolOption => Some(b"false"),
        }
    }
}

/// As posthog-rs reads booleans.
fn as_bool(value: &[u8]) -> Option<bool> {
    match value {
        b"true" => Some(true),
        b"false" => Some(false),
        [b'"', ..] => {
            let text: String = serde_json::from_slice(value).ok()?;
            let is = |word| text.trim().eq_ignore_ascii_case(word);
            if is("true") || is("1") { Some(true) } else { (is("false") || is("0")).then_some(false) }
        }
        [b'-' | b'0'..=b'9', ..] => {
            std::str::from_utf8(value).ok()?.parse::<f64>().ok().map(|number| number != 0.0)
        }
        _ => None,
    }
}

/// What is before the last member of an object that is open, the member's place in [`LIFTED`], and its value. `None` if the
/// member is another one, or its value is no scalar.
fn last_lifted(json: &[u8]) -> Option<(&[u8], usize, &[u8])> {
    let value_at = match json.last()? {
        b'"' => opening_quote(json)?,
        b'{' | b'}' | b']' => return None,
        _ => memrchr(b':', json)? + 1,
    };
    let (before, value) = json.split_at(value_at);
    let name = before.strip_suffix(b"\":")?;
    LIFTED.iter().enumerate().find_map(|(at, lifted)| {
        let rest = name.strip_suffix(lifted.property.as_bytes())?.strip_suffix(b"\"")?;
        // Otherwise, the quote belongs to a longer name.
        let is_first = rest.ends_with(b"{");
        let rest = if is_first { rest } else { rest.strip_suffix(b",")? };
        Some((rest, at, value))
    })
}

/// Where the text that ends here begins.
fn opening_quote(json: &[u8]) -> Option<usize> {
    let (_, json) = json.split_last()?;
    memrchr_iter(b'"', json).find(|at| !json[..*at].ends_with(b"\\"))
}

fn write_parsed(event: &[u8], out: &mut Vec<u8>) {
    let Ok(Members::<String, &RawValue>(members)) = serde_json::from_slice(event) else {
        out.extend_from_slice(event);
        return;
    };
    let mut lifts = Lifts::default();
    out.push(b'{');
    for (name, value) in members {
        match serde_json::from_str(value.get()) {
            Ok(Members::<String, &RawValue>(properties)) if name == "properties" => {
                out.extend_from_slice(b"\"properties\":{");
                for (name, value) in properties {
                    match lifted(&name) {
                        Some(at) => lifts.0[at] = Some(value.get().as_bytes()),
                        None => write_member(out, &name, value),
                    }
                }
                out.pop_if(|last| *last == b',');
                out.extend_from_slice(b"},");
            }
            _ => write_member(out, &name, value),
        }
    }
    out.pop_if(|last| *last == b',');
    lifts.write(out);
}

/// Writes a member with a comma behind it.
pub fn write_member(out: &mut Vec<u8>, name: &str, value: &RawValue) {
    out.extend_from_slice(Value::from(name).to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(value.get().as_bytes());
    out.push(b',');
}

/// The members of an object as they stand, with those that have the same name.
pub struct Members<K, V>(pub Vec<(K, V)>);

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Members<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AllMembers<K, V>(PhantomData<(K, V)>);
        impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for AllMembers<K, V> {
            type Value = Members<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<K, V>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(AllMembers(PhantomData))
    }
}

#[cfg(test)]
mod tests;

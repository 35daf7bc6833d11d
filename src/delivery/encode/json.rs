//! JSON of a value as `serde_json` writes it, with a shorter way for text that needs no escape: most of an event is.

use serde::Serialize;
use serde_json::{Value, to_writer};

use crate::delivery::DropReason;

/// A member with a comma behind it, if its value is nested no deeper than that.
pub(super) fn member(out: &mut Vec<u8>, name: &str, value: &Value, levels: usize) -> Result<(), DropReason> {
    text(out, name)?;
    out.push(b':');
    write(out, value, levels)?;
    out.push(b',');
    Ok(())
}

pub(super) fn text(out: &mut Vec<u8>, text: &str) -> Result<(), DropReason> {
    if !is_plain(text) {
        return other(out, text);
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
    Ok(())
}

/// Ends what was written member by member, or item by item.
pub(super) fn end(out: &mut Vec<u8>, bracket: u8) {
    out.pop_if(|last| *last == b',');
    out.push(bracket);
}

fn write(out: &mut Vec<u8>, value: &Value, levels: usize) -> Result<(), DropReason> {
    match value {
        Value::String(string) => text(out, string)?,
        Value::Array(items) => {
            let levels = levels.checked_sub(1).ok_or(DropReason::TooDeep)?;
            out.push(b'[');
            for item in items {
                write(out, item, levels)?;
                out.push(b',');
            }
            end(out, b']');
        }
        Value::Object(members) => {
            let levels = levels.checked_sub(1).ok_or(DropReason::TooDeep)?;
            out.push(b'{');
            for (name, value) in members {
                member(out, name, value, levels)?;
            }
            end(out, b'}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => other(out, value)?,
    }
    Ok(())
}

fn other(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), DropReason> {
    to_writer(out, value).map_err(|_| DropReason::NotEncodable)
}

/// Looks at every byte without a branch, which the compiler makes many at a time of.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|value| json!(value)),
            any::<i64>().prop_map(|value| json!(value)),
            any::<f64>().prop_map(|value| json!(value)),
            ".{0,40}".prop_map(|value| json!(value)),
            any::<String>().prop_map(|value| json!(value)),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(|items| json!(items)),
                prop::collection::btree_map(any::<String>(), inner, 0..5).prop_map(|members| json!(members)),
            ]
        })
    }

    proptest! {
        #[test]
        fn writes_what_serde_json_writes(value in values()) {
            let mut out = Vec::new();
            write(&mut out, &value, 5).unwrap();
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }

    #[test]
    fn refuses_what_is_nested_too_deep() {
        let nested = |levels: usize| {
            (0..levels).fold(
                json!(1),
                |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) },
            )
        };
        let written = |levels| member(&mut Vec::new(), "a", &nested(levels), 120);
        assert_eq!((written(120), written(121)), (Ok(()), Err(DropReason::TooDeep)));
    }
}

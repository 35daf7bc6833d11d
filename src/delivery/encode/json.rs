//! JSON of a value as `serde_json` writes it, with a shorter way for text that needs no escape: most of an event is.

use serde_json::{Error, Value, to_writer};

/// A member with a comma behind it.
pub(super) fn member(out: &mut Vec<u8>, name: &str, value: &Value) -> Result<(), Error> {
    text(out, name)?;
    out.push(b':');
    write(out, value)?;
    out.push(b',');
    Ok(())
}

pub(super) fn text(out: &mut Vec<u8>, text: &str) -> Result<(), Error> {
    if !is_plain(text) {
        return to_writer(out, text);
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

fn write(out: &mut Vec<u8>, value: &Value) -> Result<(), Error> {
    match value {
        Value::String(string) => text(out, string)?,
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                write(out, item)?;
                out.push(b',');
            }
            end(out, b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (name, value) in members {
                member(out, name, value)?;
            }
            end(out, b'}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => to_writer(out, value)?,
    }
    Ok(())
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
            write(&mut out, &value).unwrap();
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}

use serde::Serialize;

use super::PropertiesError;
use crate::delivery::json::{self, Budget, DEEPEST, NotWritten};
use crate::delivery::ledger::DropReason;
use crate::rt::foreign;

/// Writes it, and tells where its properties begin, and whether they may enter.
pub fn write<P: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    event: &str,
    distinct_id: &str,
    properties: &P,
) -> Result<(usize, Result<(), DropReason>), PropertiesError> {
    out.extend_from_slice(b"\"event\":");
    json::text(out, event).map_err(PropertiesError::NotSerializable)?;
    out.extend_from_slice(b",\"distinct_id\":");
    json::text(out, distinct_id).map_err(PropertiesError::NotSerializable)?;
    out.extend_from_slice(b",\"properties\":");
    let start = out.len();
    // The properties are a level of their own.
    let budget = Budget::new(DEEPEST + 1, usize::MAX);
    match foreign::call(|| json::write(out, properties, budget)) {
        Ok(Ok(())) => {}
        Ok(Err(NotWritten::Failed(error))) => return Err(PropertiesError::NotSerializable(error)),
        Ok(Err(refused)) => return Ok((out.len(), Err(refused.into()))),
        Err(foreign::Panicked) => return Err(PropertiesError::Panicked),
    }
    open_again(out, start)?;
    Ok((start + 1, Ok(())))
}

/// Takes the bracket off the end of an object, for more members to come.
fn open_again(out: &mut Vec<u8>, start: usize) -> Result<(), PropertiesError> {
    if out.get(start) != Some(&b'{') {
        return Err(PropertiesError::NotAnObject { found: kind(&out[start..]) });
    }
    out.pop();
    // A raw value has its spaces still.
    while out.pop_if(|last| last.is_ascii_whitespace()).is_some() {}
    if out.len() > start + 1 {
        out.push(b',');
    }
    Ok(())
}

fn kind(json: &[u8]) -> &'static str {
    match json.first() {
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(b'-' | b'0'..=b'9') => "a number",
        _ => "other JSON",
    }
}

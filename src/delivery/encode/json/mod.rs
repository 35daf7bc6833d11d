//! JSON as `serde_json` writes it, in fewer instructions: text that needs no escape, which most of an event is, is copied
//! as a whole. Counts how deep values are nested.

mod open;
mod serializer;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display};

use serde::ser::{self, Serialize};
use serde_json::{Error, to_writer};

use crate::delivery::DropReason;
use serializer::Json;

/// Writes a value that is nested no deeper than so many levels.
pub(in crate::delivery) fn write(
    out: &mut Vec<u8>,
    value: &(impl Serialize + ?Sized),
    levels: usize,
) -> Result<(), NotWritten> {
    value.serialize(Json { out, levels })
}

/// Writes a member with a comma behind it.
pub(in crate::delivery) fn member(
    out: &mut Vec<u8>,
    name: &str,
    value: &(impl Serialize + ?Sized),
    levels: usize,
) -> Result<(), NotWritten> {
    text(out, name)?;
    out.push(b':');
    write(out, value, levels)?;
    out.push(b',');
    Ok(())
}

pub(in crate::delivery) fn text(out: &mut Vec<u8>, text: &str) -> Result<(), Error> {
    if !is_plain(text.as_bytes()) {
        return to_writer(out, text);
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
    Ok(())
}

/// Whether nothing in it needs an escape. Looks at sixteen bytes at a time, which the compiler makes one step of.
fn is_plain(text: &[u8]) -> bool {
    match (text.last_chunk::<16>(), text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(last), _, _) => {
            let (blocks, _) = text.as_chunks::<16>();
            blocks.iter().all(is_plain_block) && is_plain_block(last)
        }
        (None, Some(first), Some(last)) => is_plain_block(first) & is_plain_block(last),
        _ => text.iter().all(is_plain_byte),
    }
}

fn is_plain_block<const N: usize>(block: &[u8; N]) -> bool {
    block.iter().fold(true, |plain, byte| plain & is_plain_byte(byte))
}

fn is_plain_byte(byte: &u8) -> bool {
    (*byte >= b' ') & (*byte != b'"') & (*byte != b'\\')
}

/// Ends what was written part by part, each with a comma behind it.
pub(super) fn end(out: &mut Vec<u8>, brackets: &str) {
    out.pop_if(|last| *last == b',');
    out.extend_from_slice(brackets.as_bytes());
}

/// Why there is no JSON.
#[derive(Debug)]
pub(in crate::delivery) enum NotWritten {
    TooDeep,
    Failed(Error),
}

impl From<Error> for NotWritten {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<NotWritten> for DropReason {
    fn from(not_written: NotWritten) -> Self {
        match not_written {
            NotWritten::TooDeep => Self::TooDeep,
            NotWritten::Failed(_) => Self::NotEncodable,
        }
    }
}

impl Display for NotWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooDeep => f.write_str("nested too deep"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NotWritten {}

impl ser::Error for NotWritten {
    fn custom<T: Display>(message: T) -> Self {
        Self::Failed(ser::Error::custom(message))
    }
}

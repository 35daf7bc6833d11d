//! JSON as `serde_json` writes it, in fewer instructions: text that needs no escape, which most of an event is, is copied
//! as a whole. Counts how deep values are nested.

mod compound;
mod serializer;
#[cfg(test)]
mod tests;
mod value;

use std::fmt::{self, Display};

use serde::ser::{self, Serialize};
use serde_json::{Error, to_writer};

use super::ledger::DropReason;
use serializer::Json;
pub use value::{dismantle, is_deeper, value};

/// What a value may cost.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// How deep it may be nested.
    levels: usize,
    /// How long all that is written may become.
    bytes: usize,
}

/// PostHog's JSON parser gives up at 128 levels, four of which are the batch's own.
pub const DEEPEST: usize = 120;

impl Budget {
    pub fn new(levels: usize, bytes: usize) -> Self {
        Self { levels, bytes }
    }

    fn admit_levels(self, open: usize) -> Result<(), NotWritten> {
        if open > self.levels { Err(NotWritten::TooDeep) } else { Ok(()) }
    }

    /// For what is so many levels further in.
    fn deeper(self, levels: usize) -> Result<Self, NotWritten> {
        let levels = self.levels.checked_sub(levels).ok_or(NotWritten::TooDeep)?;
        Ok(Self { levels, ..self })
    }

    pub fn admit(self, written: usize) -> Result<(), NotWritten> {
        if written > self.bytes { Err(NotWritten::TooLarge) } else { Ok(()) }
    }
}

/// Writes whatever can be serialized.
pub fn write(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized), budget: Budget) -> Result<(), NotWritten> {
    value.serialize(Json { out, budget })
}

/// Writes a member with a comma behind it.
pub fn member(
    out: &mut Vec<u8>,
    name: &str,
    value: &serde_json::Value,
    budget: Budget,
) -> Result<(), NotWritten> {
    budget.admit(out.len() + name.len())?;
    text(out, name)?;
    out.push(b':');
    self::value(out, value, budget)?;
    out.push(b',');
    budget.admit(out.len())
}

pub fn text(out: &mut Vec<u8>, text: &str) -> Result<(), Error> {
    if !is_plain(text.as_bytes()) {
        return to_writer(out, text);
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
    Ok(())
}

/// Whether nothing in it needs an escape. Looks at eight bytes at a time; at the end, and at what is short, by words that
/// overlap.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let half = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
    match (text.last_chunk::<8>(), text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (Some(last), _, _) => {
            let (words, _) = text.as_chunks::<8>();
            words.iter().all(|bytes| is_plain_word(word(bytes))) && is_plain_word(word(last))
        }
        (None, Some(first), Some(last)) => is_plain_word(half(first) | half(last) << 32),
        _ => text.iter().all(|byte| *byte >= b' ' && *byte != b'"' && *byte != b'\\'),
    }
}

/// The same for eight bytes in one word: a byte below a bound borrows from its high bit, if it had none. A borrow may
/// spread to the next byte, so the answer may be no where it is yes, and such a text is merely written more slowly.
#[inline]
fn is_plain_word(word: u64) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let below = |word: u64, bound: u8| word.wrapping_sub(EACH * u64::from(bound)) & !word;
    let is = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
    (below(word, b' ') | is(b'"') | is(b'\\')) & (EACH << 7) == 0
}

/// Ends what was written part by part, each with a comma behind it.
pub fn end(out: &mut Vec<u8>, brackets: &str) {
    out.pop_if(|last| *last == b',');
    out.extend_from_slice(brackets.as_bytes());
}

/// Why there is no JSON.
#[derive(Debug)]
pub enum NotWritten {
    TooDeep,
    TooLarge,
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
            NotWritten::TooLarge => Self::TooLarge,
            NotWritten::Failed(_) => Self::NotEncodable,
        }
    }
}

impl Display for NotWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooDeep => f.write_str("nested too deep"),
            Self::TooLarge => f.write_str("too large"),
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

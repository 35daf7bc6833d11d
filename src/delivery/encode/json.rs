//! JSON as `serde_json` writes it, in fewer instructions: text that needs no escape, which most of an event is, is copied
//! as a whole. Counts how deep values are nested.

use std::fmt::{self, Display};

use serde::ser::{self, Serialize, Serializer};
use serde_json::{Error, Value, to_writer};

use crate::delivery::DropReason;

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

struct Json<'a> {
    out: &'a mut Vec<u8>,
    levels: usize,
}

impl<'a> Json<'a> {
    /// Opens one or two brackets, with what stands between them.
    fn open(
        self,
        start: &str,
        variant: Option<(&str, &str)>,
        close: &'static str,
    ) -> Result<Open<'a>, NotWritten> {
        let levels = self.levels.checked_sub(close.len()).ok_or(NotWritten::TooDeep)?;
        self.out.extend_from_slice(start.as_bytes());
        if let Some((name, second)) = variant {
            text(self.out, name)?;
            self.out.push(b':');
            self.out.extend_from_slice(second.as_bytes());
        }
        Ok(Open { out: self.out, levels, close, is_raw: false })
    }
}

macro_rules! by_serde_json {
    ($($method:ident($type:ty))*) => {
        $(fn $method(self, value: $type) -> Result<(), NotWritten> { Ok(to_writer(self.out, &value)?) })*
    };
}

impl<'a> Serializer for Json<'a> {
    type Ok = ();
    type Error = NotWritten;
    type SerializeSeq = Open<'a>;
    type SerializeTuple = Open<'a>;
    type SerializeTupleStruct = Open<'a>;
    type SerializeTupleVariant = Open<'a>;
    type SerializeMap = Open<'a>;
    type SerializeStruct = Open<'a>;
    type SerializeStructVariant = Open<'a>;

    by_serde_json! {
        serialize_bool(bool) serialize_f32(f32) serialize_f64(f64)
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) serialize_i128(i128)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_u128(u128)
    }

    fn serialize_str(self, value: &str) -> Result<(), NotWritten> {
        Ok(text(self.out, value)?)
    }

    fn serialize_char(self, value: char) -> Result<(), NotWritten> {
        Ok(text(self.out, value.encode_utf8(&mut [0; 4]))?)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), NotWritten> {
        self.collect_seq(value)
    }

    fn serialize_unit(self) -> Result<(), NotWritten> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_none(self) -> Result<(), NotWritten> {
        self.serialize_unit()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), NotWritten> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NotWritten> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), NotWritten> {
        value.serialize(self)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), NotWritten> {
        Ok(text(self.out, variant)?)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), NotWritten> {
        let mut object = self.open("{", None, "}")?;
        object.field(variant, value)?;
        object.end()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Open<'a>, NotWritten> {
        self.open("[", None, "]")
    }

    fn serialize_tuple(self, _: usize) -> Result<Open<'a>, NotWritten> {
        self.open("[", None, "]")
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Open<'a>, NotWritten> {
        self.open("[", None, "]")
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Open<'a>, NotWritten> {
        self.open("{", Some((variant, "[")), "]}")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Open<'a>, NotWritten> {
        self.open("{", None, "}")
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Open<'a>, NotWritten> {
        if name.starts_with(RAW) {
            return Ok(Open { out: self.out, levels: self.levels, close: "", is_raw: true });
        }
        self.open("{", None, "}")
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Open<'a>, NotWritten> {
        self.open("{", Some((variant, "{")), "}}")
    }
}

/// How `serde_json` marks what is JSON already: its `RawValue`, and a number of arbitrary precision.
const RAW: &str = "$serde_json::private::";

/// An array or an object that is not closed.
struct Open<'a> {
    out: &'a mut Vec<u8>,
    levels: usize,
    close: &'static str,
    is_raw: bool,
}

impl Open<'_> {
    fn item(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), NotWritten> {
        write(self.out, value, self.levels)?;
        self.out.push(b',');
        Ok(())
    }

    fn field(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), NotWritten> {
        if !self.is_raw {
            return member(self.out, name, value, self.levels);
        }
        if let Value::String(json) = serde_json::to_value(value)? {
            admit_depth(json.as_bytes(), self.levels)?;
            self.out.extend_from_slice(json.as_bytes());
        }
        Ok(())
    }

    fn end(self) -> Result<(), NotWritten> {
        end(self.out, self.close);
        Ok(())
    }
}

/// Whether JSON is nested no deeper than so many levels.
fn admit_depth(json: &[u8], levels: usize) -> Result<(), NotWritten> {
    let (mut level, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => level += 1,
            b'}' | b']' => level = level.saturating_sub(1),
            _ => {}
        }
        if level > levels {
            return Err(NotWritten::TooDeep);
        }
    }
    Ok(())
}

macro_rules! made_of {
    ($($trait:ident::$method:ident($($name:ident)?) => $part:ident;)*) => {
        $(impl ser::$trait for Open<'_> {
            type Ok = ();
            type Error = NotWritten;

            fn $method<T: Serialize + ?Sized>(&mut self, $($name: &'static str,)? value: &T) -> Result<(), NotWritten> {
                self.$part($($name,)? value)
            }

            fn end(self) -> Result<(), NotWritten> {
                Open::end(self)
            }
        })*
    };
}

made_of! {
    SerializeSeq::serialize_element() => item;
    SerializeTuple::serialize_element() => item;
    SerializeTupleStruct::serialize_field() => item;
    SerializeTupleVariant::serialize_field() => item;
    SerializeStruct::serialize_field(name) => field;
    SerializeStructVariant::serialize_field(name) => field;
}

impl ser::SerializeMap for Open<'_> {
    type Ok = ();
    type Error = NotWritten;

    /// A key that is a number or a boolean becomes text, as `serde_json` makes it.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotWritten> {
        let start = self.out.len();
        write(self.out, key, self.levels)?;
        match self.out.get(start) {
            Some(b'"') => {}
            Some(b'-' | b'0'..=b'9' | b't' | b'f') => {
                self.out.insert(start, b'"');
                self.out.push(b'"');
            }
            _ => return Err(ser::Error::custom("key must be a string")),
        }
        self.out.push(b':');
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotWritten> {
        self.item(value)
    }

    fn end(self) -> Result<(), NotWritten> {
        Open::end(self)
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;

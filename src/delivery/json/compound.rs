use serde::ser::{self, Serialize};
use serde_json::Value;

use super::{Budget, NotWritten, end, text, write};

/// An array or an object that is not closed.
pub struct Compound<'a> {
    pub out: &'a mut Vec<u8>,
    pub budget: Budget,
    pub close: &'static str,
    pub is_raw: bool,
}

impl Compound<'_> {
    pub fn item(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), NotWritten> {
        write(self.out, value, self.budget)?;
        self.out.push(b',');
        self.budget.admit(self.out.len())
    }

    pub fn field(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), NotWritten> {
        if !self.is_raw {
            text(self.out, name)?;
            self.out.push(b':');
            return self.item(value);
        }
        if let Value::String(json) = serde_json::to_value(value)? {
            admit_depth(json.as_bytes(), self.budget)?;
            self.out.extend_from_slice(json.as_bytes());
        }
        Ok(())
    }

    pub fn end(self) -> Result<(), NotWritten> {
        end(self.out, self.close);
        Ok(())
    }
}

/// Whether JSON is nested no deeper than it may be.
fn admit_depth(json: &[u8], budget: Budget) -> Result<(), NotWritten> {
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
        if level > budget.levels {
            return Err(NotWritten::TooDeep);
        }
    }
    Ok(())
}

macro_rules! made_of {
    ($($trait:ident::$method:ident($($name:ident)?) => $part:ident;)*) => {
        $(impl ser::$trait for Compound<'_> {
            type Ok = ();
            type Error = NotWritten;

            fn $method<T: Serialize + ?Sized>(&mut self, $($name: &'static str,)? value: &T) -> Result<(), NotWritten> {
                self.$part($($name,)? value)
            }

            fn end(self) -> Result<(), NotWritten> {
                Compound::end(self)
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

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = NotWritten;

    /// A key that is a number or a boolean becomes text, as `serde_json` makes it.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotWritten> {
        let start = self.out.len();
        write(self.out, key, self.budget)?;
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
        Compound::end(self)
    }
}

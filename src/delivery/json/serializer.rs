use serde::ser::{Serialize, Serializer};
use serde_json::to_writer;

use super::compound::Compound;
use super::{Budget, NotWritten, text};

/// Writes a value behind what is there.
pub struct Json<'a> {
    pub out: &'a mut Vec<u8>,
    pub budget: Budget,
}

impl<'a> Json<'a> {
    /// Opens one or two brackets, with what stands between them.
    fn open(
        self,
        start: &str,
        variant: Option<(&str, &str)>,
        close: &'static str,
    ) -> Result<Compound<'a>, NotWritten> {
        let budget = self.budget.deeper(close.len())?;
        self.out.extend_from_slice(start.as_bytes());
        if let Some((name, second)) = variant {
            text(self.out, name)?;
            self.out.push(b':');
            self.out.extend_from_slice(second.as_bytes());
        }
        Ok(Compound { out: self.out, budget, close, is_raw: false })
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
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    by_serde_json! {
        serialize_bool(bool) serialize_f32(f32) serialize_f64(f64)
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) serialize_i128(i128)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_u128(u128)
    }

    fn serialize_str(self, value: &str) -> Result<(), NotWritten> {
        self.budget.admit(self.out.len() + value.len())?;
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

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'a>, NotWritten> {
        self.open("[", None, "]")
    }

    fn serialize_tuple(self, _: usize) -> Result<Compound<'a>, NotWritten> {
        self.open("[", None, "]")
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>, NotWritten> {
        self.open("[", None, "]")
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a>, NotWritten> {
        self.open("{", Some((variant, "[")), "]}")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'a>, NotWritten> {
        self.open("{", None, "}")
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Compound<'a>, NotWritten> {
        if name.starts_with(RAW) {
            return Ok(Compound { out: self.out, budget: self.budget, close: "", is_raw: true });
        }
        self.open("{", None, "}")
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'a>, NotWritten> {
        self.open("{", Some((variant, "{")), "}}")
    }
}

/// How `serde_json` marks what is JSON already: its `RawValue`, and a number of arbitrary precision.
const RAW: &str = "$serde_json::private::";

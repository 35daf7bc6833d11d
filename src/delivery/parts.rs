use serde::ser::{Impossible, SerializeStruct};
use serde::{Serialize, Serializer};

use super::json::{self, Budget, DEEPEST, NotWritten};

/// The members of an event that have no getter, as JSON. A serializer that takes these from the event's own `Serialize`,
/// in one pass, and skips the rest.
#[derive(Default)]
pub struct Parts {
    pub uuid: Vec<u8>,
    pub groups: Vec<u8>,
    pub timestamp: Vec<u8>,
}

impl Parts {
    pub fn clear(&mut self) {
        self.uuid.clear();
        self.groups.clear();
        self.timestamp.clear();
    }
}

impl SerializeStruct for &mut Parts {
    type Ok = ();
    type Error = NotWritten;

    fn serialize_field<T: ?Sized + Serialize>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), NotWritten> {
        let out = match name {
            "uuid" => &mut self.uuid,
            "groups" => &mut self.groups,
            "timestamp" => &mut self.timestamp,
            _ => return Ok(()),
        };
        json::write(out, value, Budget::new(DEEPEST, usize::MAX))
    }

    fn end(self) -> Result<(), NotWritten> {
        Ok(())
    }
}

fn not_an_event<T>() -> Result<T, NotWritten> {
    Err(serde::ser::Error::custom("an event is a struct"))
}

macro_rules! refuse {
    ($($method:ident($($argument:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$ok, NotWritten> { not_an_event() })*
    };
}

impl Serializer for &mut Parts {
    type Ok = ();
    type Error = NotWritten;
    type SerializeStruct = Self;
    type SerializeSeq = Impossible<(), NotWritten>;
    type SerializeTuple = Impossible<(), NotWritten>;
    type SerializeTupleStruct = Impossible<(), NotWritten>;
    type SerializeTupleVariant = Impossible<(), NotWritten>;
    type SerializeMap = Impossible<(), NotWritten>;
    type SerializeStructVariant = Impossible<(), NotWritten>;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, NotWritten> {
        Ok(self)
    }

    fn serialize_some<T: ?Sized + Serialize>(self, _: &T) -> Result<(), NotWritten> {
        not_an_event()
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<(), NotWritten> {
        not_an_event()
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), NotWritten> {
        not_an_event()
    }

    refuse! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }
}

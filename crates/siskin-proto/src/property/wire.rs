//! The shapes that a property value has on the wire: how each is read, written and measured.

use alloc::vec::Vec;

use crate::codec::read::Reader;
use crate::codec::write as put;
use crate::{DecodeError, Field, PropertyId, Violation};

/// The shape of a value, as far as one must know it to pass over the value.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Fixed(usize),
    Varint,
    /// A string or binary data.
    Counted,
    Pair,
}

impl Shape {
    pub(super) fn skip(self, reader: &mut Reader<'_>, id: PropertyId) -> Result<(), DecodeError> {
        let field = Field::Property(id);
        match self {
            Self::Fixed(len) => reader.take(len, field).map(drop),
            Self::Varint => reader.varint(field).map(drop),
            Self::Counted => reader.binary(field).map(drop),
            Self::Pair => reader.binary(field).and_then(|_| reader.binary(field)).map(drop),
        }
    }
}

/// A value in one of the shapes.
pub(super) trait Value<'a>: Sized {
    const SHAPE: Shape;

    fn read(reader: &mut Reader<'a>, id: PropertyId) -> Result<Self, DecodeError>;
    fn write(self, out: &mut Vec<u8>);
    fn encoded_len(self) -> usize;
}

/// A subscription identifier, the only number of variable length.
pub(super) struct Varint(u32);

impl From<u32> for Varint {
    fn from(value: u32) -> Self {
        Self(value)
    }
}

impl From<Varint> for u32 {
    fn from(value: Varint) -> Self {
        value.0
    }
}

impl<'a> Value<'a> for u8 {
    const SHAPE: Shape = Shape::Fixed(1);

    fn read(reader: &mut Reader<'a>, id: PropertyId) -> Result<Self, DecodeError> {
        reader.u8(Field::Property(id))
    }

    fn write(self, out: &mut Vec<u8>) {
        out.push(self);
    }

    fn encoded_len(self) -> usize {
        1
    }
}

impl<'a> Value<'a> for bool {
    const SHAPE: Shape = Shape::Fixed(1);

    fn read(reader: &mut Reader<'a>, id: PropertyId) -> Result<Self, DecodeError> {
        match reader.u8(Field::Property(id))? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Violation::PropertyValue { packet: reader.packet(), property: id }.into()),
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        out.push(u8::from(self));
    }

    fn encoded_len(self) -> usize {
        1
    }
}

impl<'a> Value<'a> for u16 {
    const SHAPE: Shape = Shape::Fixed(2);

    fn read(reader: &mut Reader<'a>, id: PropertyId) -> Result<Self, DecodeError> {
        reader.u16(Field::Property(id))
    }

    fn write(self, out: &mut Vec<u8>) {
        put::u16(out, self);
    }

    fn encoded_len(self) -> usize {
        2
    }
}

impl<'a> Value<'a> for u32 {
    const SHAPE: Shape = Shape::Fixed(4);

    fn read(reader: &mut Reader<'a>, id: PropertyId) -> Result<Self, DecodeError> {
        reader.u32(Field::Property(id))
    }

    fn write(self, out: &mut Vec<u8>) {
        put::u32(out, self);
    }

    fn encoded_len(self) -> usize {
        4
    }
}

impl<'a> Value<'a> for Varint {
    const SHAPE: Shape = Shape::Varint;

    fn read(reader: &mut Reader<'a>, id: PropertyId) -> Result<Self, DecodeError> {
        reader.varint(Field::Property(id)).map(Self)
    }

    fn write(self, out: &mut Vec<u8>) {
        put::varint(out, self.0 as usize);
    }

    fn encoded_len(self) -> usize {
        put::varint_len(self.0 as usize)
    }
}

impl<'a> Value<'a> for &'a str {
    const SHAPE: Shape = Shape::Counted;

    fn read(reader: &mut Reader<'a>, id: PropertyId) -> Result<Self, DecodeError> {
        reader.string(Field::Property(id))
    }

    fn write(self, out: &mut Vec<u8>) {
        put::string(out, self);
    }

    fn encoded_len(self) -> usize {
        put::string_len(self)
    }
}

impl<'a> Value<'a> for &'a [u8] {
    const SHAPE: Shape = Shape::Counted;

    fn read(reader: &mut Reader<'a>, id: PropertyId) -> Result<Self, DecodeError> {
        reader.binary(Field::Property(id))
    }

    fn write(self, out: &mut Vec<u8>) {
        put::binary(out, self);
    }

    fn encoded_len(self) -> usize {
        put::binary_len(self)
    }
}

/// Both halves are strings. [MQTT5 1.5.7-1]
impl<'a> Value<'a> for (&'a str, &'a str) {
    const SHAPE: Shape = Shape::Pair;

    fn read(reader: &mut Reader<'a>, id: PropertyId) -> Result<Self, DecodeError> {
        Ok((reader.string(Field::Property(id))?, reader.string(Field::Property(id))?))
    }

    fn write(self, out: &mut Vec<u8>) {
        put::string(out, self.0);
        put::string(out, self.1);
    }

    fn encoded_len(self) -> usize {
        put::string_len(self.0) + put::string_len(self.1)
    }
}

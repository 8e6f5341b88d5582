use core::fmt;

use super::{Property, PropertyId};
use crate::PacketKind;
use crate::codec::read::Reader;

/// The properties of a packet: a view on their bytes, which were checked when the packet was decoded.
///
/// Looking one up walks over those before it. Where the bytes are no properties after all, because they
/// came from [`from_valid_raw`](Self::from_valid_raw), the list ends there.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Properties<'static> = Properties(&[]);

    /// The properties in `raw`, which [`raw`](Self::raw) gave before. Nothing is checked again.
    #[inline]
    pub const fn from_valid_raw(raw: &'a [u8]) -> Self {
        Self(raw)
    }

    /// Their bytes, without the length in front.
    #[inline]
    pub const fn raw(self) -> &'a [u8] {
        self.0
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order in which they came.
    pub fn iter(self) -> impl Iterator<Item = Property<'a>> + Clone {
        Iter { bytes: self.0 }
    }

    /// The first property `id`.
    pub(super) fn find(self, id: PropertyId) -> Option<Property<'a>> {
        let mut reader = reader(self.0);
        loop {
            let found = next_id(&mut reader)?;
            if found == id {
                return Property::read(&mut reader, id).ok();
            }
            Property::shape(found).skip(&mut reader, found).ok()?;
        }
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[derive(Clone)]
struct Iter<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        let mut reader = reader(core::mem::take(&mut self.bytes));
        let id = next_id(&mut reader)?;
        let property = Property::read(&mut reader, id).ok()?;
        self.bytes = reader.rest();
        Some(property)
    }
}

fn next_id(reader: &mut Reader<'_>) -> Option<PropertyId> {
    PropertyId::from_u8(reader.u8(crate::Field::PropertyId).ok()?)
}

/// The packet only matters in errors, and nobody sees those here.
fn reader(bytes: &[u8]) -> Reader<'_> {
    Reader::new(bytes, PacketKind::Publish)
}

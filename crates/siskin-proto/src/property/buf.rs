use alloc::vec::Vec;

use super::{Properties, Property};

/// Properties to be sent. Whether the packet may have them is up to the caller. An empty one takes no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertiesBuf(Vec<u8>);

impl PropertiesBuf {
    /// No properties.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds one behind the others. Text and data over 65,535 bytes are cut.
    pub fn push(&mut self, property: Property<'_>) {
        property.encode(&mut self.0);
    }

    /// Drops all and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The properties, as a packet has them.
    #[inline]
    pub fn as_properties(&self) -> Properties<'_> {
        Properties::from_valid_raw(&self.0)
    }
}

impl<'a> FromIterator<Property<'a>> for PropertiesBuf {
    fn from_iter<I: IntoIterator<Item = Property<'a>>>(properties: I) -> Self {
        let mut buf = Self::new();
        properties.into_iter().for_each(|property| buf.push(property));
        buf
    }
}

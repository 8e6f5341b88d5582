//! Properties of 5.0. What is decoded stays as it came, a checked run of bytes; typed look-ups read it.

mod buf;
mod lookup;
mod table;
mod validate;
mod view;
mod wire;

pub use buf::PropertiesBuf;
pub use table::{Property, PropertyId};
pub(crate) use validate::{PropertySet, read};
pub use view::Properties;

#[cfg(test)]
mod tests;

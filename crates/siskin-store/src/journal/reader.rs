//! Reading bodies back.

use std::sync::Arc;

use siskin_core::store::RecordId;

use super::{Shared, lock};
use crate::device::{Device, read_full_at};
use crate::error::Error;
use crate::format::segment_name;

/// Reads bodies, from whatever thread.
#[derive(Debug)]
pub struct Reader<D: Device> {
    device: Arc<D>,
    index: Shared<D::File>,
}

impl<D: Device> Reader<D> {
    pub(super) fn new(device: Arc<D>, index: Shared<D::File>) -> Self {
        Self { device, index }
    }

    /// The body of a record; none if there is no such record.
    pub fn read(&self, id: RecordId) -> Result<Option<Vec<u8>>, Error> {
        loop {
            let index = lock(&self.index);
            let Some(at) = index.find(id) else { return Ok(None) };
            let Some(file) = index.segment(at.segment).map(|segment| segment.file.clone()) else {
                return Ok(None);
            };
            drop(index);
            let mut body = vec![0; at.len as usize];
            let read = read_full_at(&*self.device, &file, &mut body, at.offset.into());
            // The file may have become another segment while we read. Then the record is elsewhere by now.
            if lock(&self.index).find(id) != Some(at) {
                continue;
            }
            let path = || self.device.path(&segment_name(at.segment));
            return match read {
                Ok(len) if len == body.len() && crc32c::crc32c(&body) == at.crc => Ok(Some(body)),
                Ok(_) => Err(Error::Corrupt {
                    path: path(),
                    segment: at.segment,
                    offset: at.offset.into(),
                    damage: crate::error::Damage::Body,
                }),
                Err(error) => Err(Error::io("read", path(), error)),
            };
        }
    }
}

impl<D: Device> Clone for Reader<D> {
    fn clone(&self) -> Self {
        Self { device: self.device.clone(), index: self.index.clone() }
    }
}

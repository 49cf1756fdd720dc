//! What is said of measuring quality, and of what follows from it.

use super::WireError;
use super::cursor::Reader;
use super::pace::{put_duration, read_duration};
use crate::{Pausing, Quality};
use bytes::{BufMut, BytesMut};

pub(super) fn put(out: &mut BytesMut, quality: &Quality) {
    out.put_u8(quality.sample_percent);
    out.put_u8(u8::from(quality.pausing.is_some()));
    if let Some(Pausing { loss_mdb, return_mdb, segments, run }) = &quality.pausing {
        [*loss_mdb, *return_mdb, *segments].into_iter().for_each(|value| out.put_u32(value));
        put_duration(out, *run);
    }
}

pub(super) fn read(reader: &mut Reader) -> Result<Quality, WireError> {
    let sample_percent = reader.u8()?;
    if sample_percent > 100 {
        return Err(WireError::Invalid("share of segments"));
    }
    let pausing = if reader.flag()? {
        let (loss_mdb, return_mdb, segments) = (reader.u32()?, reader.u32()?, reader.u32()?);
        Some(Pausing { loss_mdb, return_mdb, segments, run: read_duration(reader)? })
    } else {
        None
    };
    Ok(Quality { sample_percent, pausing })
}

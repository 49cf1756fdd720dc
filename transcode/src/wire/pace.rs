//! What is said of a worker that is behind: the rule it follows, and what it leaves out.

use super::WireError;
use super::cursor::Reader;
use crate::{Keeping, Shed};
use bytes::{BufMut, BytesMut};
use std::time::Duration;

pub(super) fn put_keeping(out: &mut BytesMut, keeping: &Keeping) {
    put_duration(out, keeping.behind);
    put_duration(out, keeping.recover);
    out.put_u8(keeping.preset_steps);
    out.put_u32(keeping.fps_min);
}

pub(super) fn read_keeping(reader: &mut Reader) -> Result<Keeping, WireError> {
    Ok(Keeping {
        behind: read_duration(reader)?,
        recover: read_duration(reader)?,
        preset_steps: reader.u8()?,
        fps_min: reader.u32()?,
    })
}

pub(super) fn put_shed(out: &mut BytesMut, Shed { faster, thinned, away }: Shed) {
    out.put_u8(faster);
    out.put_u8(u8::from(thinned));
    out.put_u8(away);
}

pub(super) fn read_shed(reader: &mut Reader) -> Result<Shed, WireError> {
    Ok(Shed { faster: reader.u8()?, thinned: reader.flag()?, away: reader.u8()? })
}

/// In microseconds.
pub(super) fn put_duration(out: &mut BytesMut, duration: Duration) {
    out.put_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
}

pub(super) fn read_duration(reader: &mut Reader) -> Result<Duration, WireError> {
    Ok(Duration::from_micros(reader.u64()?))
}

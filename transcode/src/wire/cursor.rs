//! Reads and writes the fixed-size fields of a message; a read past the end is an error, never a panic.

use super::WireError;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The rest of a message that is being read.
pub(super) struct Reader(pub(super) Bytes);

impl Reader {
    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.0.try_get_u8().map_err(|_| WireError::Truncated)
    }

    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        self.0.try_get_u16().map_err(|_| WireError::Truncated)
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.0.try_get_u32().map_err(|_| WireError::Truncated)
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.0.try_get_u64().map_err(|_| WireError::Truncated)
    }

    pub(super) fn i64(&mut self) -> Result<i64, WireError> {
        self.0.try_get_i64().map_err(|_| WireError::Truncated)
    }

    pub(super) fn flag(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Invalid("flag")),
        }
    }

    /// Bytes after their length in 32 bits; shares the message's memory.
    pub(super) fn bytes(&mut self) -> Result<Bytes, WireError> {
        let length = self.u32()? as usize;
        if length > self.0.len() {
            return Err(WireError::Truncated);
        }
        Ok(self.0.split_to(length))
    }

    pub(super) fn text(&mut self) -> Result<String, WireError> {
        String::from_utf8(self.bytes()?.into()).map_err(|_| WireError::Invalid("text"))
    }

    /// All that is left, as the payload of a frame.
    pub(super) fn rest(&mut self) -> Bytes {
        self.0.split_to(self.0.len())
    }

    pub(super) fn end(&self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Invalid("length: bytes are left over")) }
    }
}

pub(super) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

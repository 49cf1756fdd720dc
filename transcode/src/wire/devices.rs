//! What is said of devices that encode: which may, and what trials of them came to.

use super::WireError;
use super::cursor::{Reader, put_bytes};
use crate::Trial;
use bytes::{BufMut, BytesMut};
use config::Hardware;

const ALL: [Hardware; 5] = [Hardware::Auto, Hardware::Off, Hardware::Nvenc, Hardware::Vaapi, Hardware::Qsv];

pub(super) fn put_hardware(out: &mut BytesMut, hardware: Hardware) {
    out.put_u8(ALL.iter().position(|known| *known == hardware).unwrap_or_default() as u8);
}

pub(super) fn read_hardware(reader: &mut Reader) -> Result<Hardware, WireError> {
    ALL.get(usize::from(reader.u8()?)).copied().ok_or(WireError::Invalid("kind of hardware"))
}

pub(super) fn put_trials(out: &mut BytesMut, trials: &[Trial]) {
    let trials = &trials[..trials.len().min(usize::from(u8::MAX))];
    out.put_u8(trials.len() as u8);
    for Trial { encoder, fault } in trials {
        put_bytes(out, encoder.as_bytes());
        put_fault(out, fault.as_deref());
    }
}

pub(super) fn read_trials(reader: &mut Reader) -> Result<Vec<Trial>, WireError> {
    let count = reader.u8()?;
    (0..count).map(|_| Ok(Trial { encoder: reader.text()?, fault: read_fault(reader)? })).collect()
}

pub(super) fn put_fault(out: &mut BytesMut, fault: Option<&str>) {
    out.put_u8(u8::from(fault.is_some()));
    fault.iter().for_each(|fault| put_bytes(out, fault.as_bytes()));
}

pub(super) fn read_fault(reader: &mut Reader) -> Result<Option<String>, WireError> {
    if reader.flag()? { reader.text().map(Some) } else { Ok(None) }
}

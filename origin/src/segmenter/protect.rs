//! Encrypts what is cut: samples as their part is written, or segments once they are whole.

use super::{Part, Violation};
use crate::keys::{KeyName, Protection, segment_iv};
use bytes::Bytes;
use config::EncryptionMethod;
use manifest::Position;
use media::TrackConfig;
use media::fmp4::{self, ContentKey, Fmp4Error, Protector, Reference, Sample};
use std::sync::Arc;

/// What becomes of the parts of one track.
#[derive(Default)]
pub(super) enum Protect {
    #[default]
    Clear,
    Samples {
        protection: Arc<Protection>,
        protector: Protector,
    },
    /// Parts of a segment cannot be decrypted one by one and all together alike: they wait here for its end.
    Whole {
        protection: Arc<Protection>,
        parts: Vec<Part>,
    },
}

impl Protect {
    pub(super) fn new(track: &TrackConfig, protection: Arc<Protection>) -> Result<Self, Fmp4Error> {
        Ok(match protection.method {
            EncryptionMethod::Cbcs => Self::Samples { protection, protector: Protector::new(track)? },
            EncryptionMethod::Aes128 => Self::Whole { protection, parts: Vec::new() },
        })
    }

    /// A part of the segment `msn`, written, and what its samples are encrypted with.
    pub(super) fn fragment(
        &self,
        msn: u64,
        (sequence, decode_time): (u32, u64),
        reference: Reference,
        samples: &[Sample],
    ) -> Result<(Bytes, Option<KeyName>), Violation> {
        match self {
            Self::Clear | Self::Whole { .. } => {
                Ok((fmp4::fragment(sequence, decode_time, Some(reference), samples)?, None))
            }
            Self::Samples { protection, protector } => {
                let key = key(protection, msn)?;
                // Shaka takes the first segment under a key for one of the period before as well, and its first samples play.
                let with = (protector, &key, protection.ring.lock().begins_period(msn));
                let bytes = fmp4::protected_fragment(sequence, decode_time, Some(reference), with, samples)?;
                Ok((bytes, Some(KeyName { id: key.id, iv: key.iv })))
            }
        }
    }

    /// What can be published of what was cut.
    pub(super) fn publishable(&mut self, cut: Vec<Part>) -> Result<Vec<Part>, Violation> {
        if !matches!(self, Self::Whole { .. }) {
            return Ok(cut);
        }
        let mut whole = Vec::new();
        for part in cut {
            let ends = part.ends_segment;
            self.wait(part);
            if ends {
                whole.extend(self.close()?);
            }
        }
        Ok(whole)
    }

    /// The same at the end of the epoch, whatever length the segment has come to.
    pub(super) fn last(&mut self, cut: Option<Part>) -> Result<Option<Part>, Violation> {
        if !matches!(self, Self::Whole { .. }) {
            return Ok(cut);
        }
        cut.into_iter().for_each(|part| self.wait(part));
        self.close()
    }

    fn wait(&mut self, part: Part) {
        if let Self::Whole { parts, .. } = self {
            parts.push(part);
        }
    }

    /// The segment that waits, encrypted, as one part.
    fn close(&mut self) -> Result<Option<Part>, Violation> {
        let Self::Whole { protection, parts } = self else { return Ok(None) };
        let parts = std::mem::take(parts);
        let Some((first, last)) = parts.first().zip(parts.last()) else { return Ok(None) };
        let ContentKey { id, key, iv } = key(protection, first.at.msn)?;
        let pieces: Vec<Bytes> = parts.iter().map(|part| part.bytes.clone()).collect();
        Ok(Some(Part {
            at: Position { part: 0, ..first.at },
            bytes: fmp4::encrypt_whole(&pieces, &key, segment_iv(first.at.msn)),
            duration_s: parts.iter().map(|part| part.duration_s).sum(),
            independent: first.independent,
            // No range of it can be decrypted alone.
            first_picture_end: None,
            ends_segment: last.ends_segment,
            key: Some(KeyName { id, iv }),
        }))
    }
}

fn key(protection: &Protection, msn: u64) -> Result<ContentKey, Violation> {
    protection.ring.lock().key(msn).ok_or(Violation::NoKey { msn })
}

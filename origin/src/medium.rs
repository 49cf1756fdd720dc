//! What the segments of a rendition are, and with that their file names and media types. Pure.

use config::EncryptionMethod;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Medium {
    /// Fragmented MP4, behind an init section and cut into parts: pictures or sound.
    #[default]
    Fragments,
    /// The same, encrypted as a whole and published whole.
    Whole,
    /// One JPEG each, of small pictures side by side.
    Images,
    /// One WebVTT file each.
    Text,
    /// The same cues in fragmented MP4, behind an init section and published whole.
    Cues,
}

impl Medium {
    /// Of pictures and sound that are encrypted like this.
    pub(crate) fn of(encryption: Option<EncryptionMethod>) -> Self {
        match encryption {
            Some(EncryptionMethod::Aes128) => Self::Whole,
            Some(EncryptionMethod::Cbcs) | None => Self::Fragments,
        }
    }

    /// What the file of a segment is called behind its number.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Fragments | Self::Whole | Self::Cues => "m4s",
            Self::Images => "jpg",
            Self::Text => "vtt",
        }
    }

    /// The media type of a segment, and of a part.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Fragments | Self::Whole => "video/iso.segment",
            Self::Images => "image/jpeg",
            Self::Text => "text/vtt; charset=utf-8",
            Self::Cues => "application/mp4",
        }
    }

    /// The media type of an init section (RFC 4337): what has neither pictures nor sound is an application's.
    pub(crate) fn init_type(self) -> &'static str {
        if self == Self::Cues { "application/mp4" } else { "video/mp4" }
    }

    /// Whether segments need an init section.
    pub(crate) fn has_init(self) -> bool {
        matches!(self, Self::Fragments | Self::Whole | Self::Cues)
    }

    /// Whether segments come in parts. Others are published whole.
    pub(crate) fn has_parts(self) -> bool {
        self == Self::Fragments
    }
}

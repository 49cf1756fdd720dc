//! What players are told of a stream's keys: where they are, and the IV of each segment. Pure.

use super::{KeyName, hex};
use config::{Encryption, EncryptionMethod, HlsKeys, fill_key_uri};
use manifest::protection::{ContentProtection, Key, KeyFormat, Method};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) method: EncryptionMethod,
    pub(crate) access: KeyAccess,
    stream: String,
    segments_per_key: Option<u64>,
}

/// For whom keys are named, and where they are. Journals keep it with each epoch, since what players were told of a segment
/// stays as it is (RFC 8216bis, 6.2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyAccess {
    /// For browsers' clear key systems, and not for players that fetch them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    by_licence: bool,
    /// Templates; without one the keys are beside the stream's playlists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    license_uri: Option<String>,
}

impl KeyAccess {
    pub(crate) fn of(config: &Encryption) -> Self {
        let by_licence = config.hls_keys == HlsKeys::Clearkey;
        Self { by_licence, key_uri: config.key_uri.clone(), license_uri: config.license_uri.clone() }
    }

    /// Whether it can stand in playlists and MPDs.
    pub(crate) fn is_sane(&self) -> bool {
        let plain = |uri: &String| uri.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'<>&".contains(&byte));
        self.key_uri.iter().chain(&self.license_uri).all(plain)
    }

    fn format(&self) -> KeyFormat {
        if self.by_licence { KeyFormat::ClearKey } else { KeyFormat::Identity }
    }
}

impl Told {
    pub(crate) fn new(
        method: EncryptionMethod,
        stream: &str,
        access: KeyAccess,
        segments_per_key: Option<u64>,
    ) -> Self {
        Self { method, access, stream: stream.to_owned(), segments_per_key }
    }

    /// Whether this segment is to have another key than the one before. Its first part is not hinted at: Shaka takes it for
    /// one under the init section that it knows.
    pub(crate) fn changes_at(&self, msn: u64) -> bool {
        self.segments_per_key.is_some_and(|segments| msn.is_multiple_of(segments))
    }

    /// The key of this segment, as a media playlist says it.
    pub(crate) fn key(&self, name: KeyName, msn: u64) -> Key {
        self.key_from("../keys/", name, msn)
    }

    /// The same as the multivariant playlist says it.
    pub(crate) fn session_key(&self, name: KeyName, msn: u64) -> Key {
        self.key_from("keys/", name, msn)
    }

    fn key_from(&self, folder: &str, name: KeyName, msn: u64) -> Key {
        let id = hex(&name.id);
        let uri = self
            .access
            .key_uri
            .as_ref()
            .map_or_else(|| format!("{folder}{id}"), |template| fill_key_uri(template, &self.stream, &id));
        match self.method {
            EncryptionMethod::Cbcs => {
                Key { method: Method::SampleAes { key_id: name.id, format: self.access.format() }, uri, iv: name.iv }
            }
            EncryptionMethod::Aes128 => Key { method: Method::Aes128, uri, iv: segment_iv(msn) },
        }
    }

    /// What an MPD says of it; nothing where no player of DASH could use it.
    pub(crate) fn content_protection(&self, name: KeyName) -> Option<ContentProtection> {
        let license_uri = self.access.license_uri.as_ref().map(|template| fill_key_uri(template, &self.stream, ""));
        let protection = ContentProtection { key_id: name.id, license_uri };
        (self.method == EncryptionMethod::Cbcs).then_some(protection)
    }

    /// The file of the init section for media under this key.
    pub(crate) fn init(&self, name: KeyName) -> String {
        match self.method {
            EncryptionMethod::Cbcs => format!("init.{}.mp4", hex(&name.id)),
            EncryptionMethod::Aes128 => "init.mp4".to_owned(),
        }
    }
}

/// RFC 8216bis, 5.2: the number of the segment, which is what a playlist that says no IV would mean.
pub(crate) fn segment_iv(msn: u64) -> [u8; 16] {
    u128::from(msn).to_be_bytes()
}

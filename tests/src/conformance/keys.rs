//! The rules of encryption: what playlists say of keys, and what is under them. Pure.

use super::rules::Checks;
use super::text::{Attributes, Media, Multivariant};
use super::{KEY, KEY_INIT, KEY_MAP, KEY_PARTS, KEY_SEGMENT, SESSION_KEY};

/// What an init section says of its samples (ISO/IEC 14496-12, 8.12; ISO/IEC 23001-7, 8.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scheme {
    /// `cbcs` or `cenc`.
    pub(super) name: String,
    /// 32 digits.
    pub(super) key_id: String,
}

/// The rules of one version of a media playlist.
pub(super) fn of_one(media: &Media, checks: &mut Checks) {
    let version = media.versions.first().copied().unwrap_or(1);
    for segment in media.segments.iter().chain([&media.open]) {
        for key in &segment.said_keys {
            checks.check(KEY, is_key(key, version), || format!("{key:?} in version {version}"));
        }
        let pairs = segment.keys.windows(2);
        for pair in pairs {
            let alike = ["METHOD", "IV"].iter().all(|name| pair[0].get(*name) == pair[1].get(*name));
            checks.check(KEY, alike, || format!("{pair:?} for {}", segment.uri));
        }
        if is_whole(&segment.keys) {
            checks.check(KEY_PARTS, segment.parts.is_empty(), || {
                format!("{} in {} parts", segment.uri, segment.parts.len())
            });
        }
        if let Some(key) = segment.map_keys.iter().find(|key| is_method(key, "AES-128")) {
            checks.check(KEY_MAP, key.contains_key("IV"), || format!("{key:?} for {:?}", segment.map));
        }
    }
}

fn is_key(key: &Attributes, version: u64) -> bool {
    let has = |name: &str| key.contains_key(name);
    if is_method(key, "NONE") {
        return key.len() == 1;
    }
    let known = ["AES-128", "SAMPLE-AES", "SAMPLE-AES-CTR"].iter().any(|method| is_method(key, method));
    let iv = key.get("IV").is_none_or(|iv| hex(iv).is_some_and(|iv| iv.len() <= 32));
    let versions = key.get("KEYFORMATVERSIONS");
    let versions = versions.is_none_or(|said| said.split('/').all(|one| one.parse::<u32>().is_ok_and(|one| one > 0)));
    // Section 8.
    let needs = if has("KEYFORMAT") || has("KEYFORMATVERSIONS") { 5 } else { u64::from(has("IV")) + 1 };
    let uri = key.get("URI").is_some_and(|uri| !uri.is_empty());
    known && uri && iv && versions && version >= needs
}

/// Of an init section, and the keys that hold for the segments behind it.
pub(super) fn of_init((keys, map_keys): (&[Attributes], &[Attributes]), init: &[u8], checks: &mut Checks) {
    if is_whole(map_keys) || init.get(4..8) != Some(b"ftyp") {
        return;
    }
    let by_samples = keys.iter().find(|key| is_method(key, "SAMPLE-AES") || is_method(key, "SAMPLE-AES-CTR"));
    let told = by_samples.map(|key| if is_method(key, "SAMPLE-AES") { "cbcs" } else { "cenc" });
    let scheme = scheme(init);
    if told.is_none() && scheme.is_none() {
        return;
    }
    let key_id = by_samples.and_then(|key| hex(key.get("KEYID")?));
    let is_of_id = |scheme: &Scheme| key_id.as_ref().is_none_or(|key_id| *key_id == scheme.key_id);
    let holds = scheme.as_ref().is_some_and(|scheme| Some(&*scheme.name) == told && is_of_id(scheme));
    checks.check(KEY_INIT, holds, || format!("{scheme:?} under {keys:?}"));
}

/// Of a segment, by how many bytes it has.
pub(super) fn of_segment(uri: &str, keys: &[Attributes], bytes: u64, checks: &mut Checks) {
    if is_whole(keys) {
        checks.check(KEY_SEGMENT, bytes > 0 && bytes.is_multiple_of(16), || format!("{uri} has {bytes} bytes"));
    }
}

/// Of the keys of a multivariant playlist at `url`, against those of its media playlists, each at its own.
pub(super) fn of_session<'a>(
    (url, said): (&str, &Multivariant),
    playlists: impl Iterator<Item = (&'a String, &'a Media)> + Clone,
    resolve: impl Fn(&str, &str) -> String,
    checks: &mut Checks,
) {
    let address = |url: &str, key: &Attributes| key.get("URI").map(|uri| resolve(url, uri));
    for (at, session) in said.session_keys.iter().enumerate() {
        let single = !said.session_keys[..at].contains(session);
        let whole = !is_method(session, "NONE") && is_key(session, u64::MAX);
        checks.check(SESSION_KEY, single && whole, || format!("{session:?}"));
        for (of, media) in playlists.clone() {
            let keys = media.segments.iter().flat_map(|segment| &segment.said_keys);
            for key in keys.filter(|key| address(of, key) == address(url, session)) {
                let named = ["METHOD", "KEYFORMAT", "KEYFORMATVERSIONS"];
                let alike = named.iter().all(|name| key.get(*name) == session.get(*name));
                checks.check(SESSION_KEY, alike, || format!("{session:?}, but {key:?} in {of}"));
            }
        }
    }
}

/// The key of a segment that whoever asks for its URI gets as bytes.
pub(super) fn fetched(keys: &[Attributes]) -> Option<&str> {
    let is_identity = |key: &&Attributes| key.get("KEYFORMAT").is_none_or(|format| format == "identity");
    keys.iter().find(is_identity).and_then(|key| key.get("URI")).map(String::as_str)
}

fn is_method(key: &Attributes, method: &str) -> bool {
    key.get("METHOD").is_some_and(|said| said == method)
}

/// Whether segments are encrypted as a whole.
fn is_whole(keys: &[Attributes]) -> bool {
    keys.iter().any(|key| is_method(key, "AES-128"))
}

/// The digits of a hexadecimal-sequence (4.2), small.
fn hex(text: &str) -> Option<String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| digits.to_ascii_lowercase())
}

/// `None` of an init section in the clear.
pub(super) fn scheme(init: &[u8]) -> Option<Scheme> {
    let path: [&[u8; 4]; 6] = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"];
    let entries = path.into_iter().try_fold(init, find)?.get(8..)?;
    let (kind, entry) = boxes(entries).next()?;
    let fields = match kind {
        b"encv" => 78,
        b"enca" => 28,
        _ => return None,
    };
    let sinf = find(entry.get(fields..)?, b"sinf")?;
    let name = String::from_utf8_lossy(find(sinf, b"schm")?.get(4..8)?).into_owned();
    let key_id = find(find(sinf, b"schi")?, b"tenc")?.get(8..24)?;
    Some(Scheme { name, key_id: key_id.iter().map(|byte| format!("{byte:02x}")).collect() })
}

pub(super) fn find<'a>(bytes: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(bytes).find(|(kind, _)| *kind == name).map(|(_, body)| body)
}

/// Names and bodies.
pub(super) fn boxes(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_at_checked(8)?;
        let length = u32::from_be_bytes(head[..4].try_into().ok()?) as usize;
        let (body, after) = rest.split_at_checked(length.checked_sub(8)?)?;
        bytes = after;
        Some((&head[4..], body))
    })
}

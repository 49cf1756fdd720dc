//! The rules of codecs: what is told of a track is what its init section says. Pure.

use super::CODECS;
use super::keys::{boxes, find};
use super::rules::Checks;
use super::text::Multivariant;

/// How samples are coded, as the sample entry says, and of what is encrypted its `frma` (ISO/IEC 14496-12, 8.5.2 and 8.12.2).
pub(super) fn of_init(init: &[u8]) -> Option<String> {
    let path: [&[u8; 4]; 6] = [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"];
    let entries = path.into_iter().try_fold(init, find)?.get(8..)?;
    let (kind, entry) = boxes(entries).next()?;
    let fields = match kind {
        b"encv" => 78,
        b"enca" => 28,
        _ => return Some(text(kind)),
    };
    Some(text(find(find(entry.get(fields..)?, b"sinf")?, b"frma")?))
}

/// A codec (RFC 6381) without its profile and level, in small letters: `Opus` is spelt either way.
pub(super) fn family(codec: &str) -> String {
    codec.split('.').next().unwrap_or_default().to_ascii_lowercase()
}

/// Every variant, and the sound that it names, by what `held` knows of the init section behind the URI of a playlist.
pub(super) fn of_variants(said: &Multivariant, held: impl Fn(&str) -> Option<String>, checks: &mut Checks) {
    for (variant, uri) in &said.variants {
        let Some(codecs) = variant.get("CODECS") else { continue };
        let named: Vec<String> = codecs.split(',').map(|codec| family(codec.trim())).collect();
        let group = variant.get("AUDIO");
        let is_sound = |kind: Option<&String>| kind.is_some_and(|kind| kind == "AUDIO");
        let sounds = said.renditions.iter().filter(|one| is_sound(one.get("TYPE")) && one.get("GROUP-ID") == group);
        for uri in sounds.filter_map(|one| one.get("URI")).chain([uri]) {
            let Some(held) = held(uri) else { continue };
            let is_named = named.contains(&family(&held));
            checks.check(CODECS, is_named, || format!("{uri} holds {held}, told is {codecs:?}"));
        }
    }
}

fn text(kind: &[u8]) -> String {
    String::from_utf8_lossy(kind).into_owned()
}

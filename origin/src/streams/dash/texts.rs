//! Subtitles as an MPD tells them: a set for each track, of the same numbers as the pictures. Pure.

use super::set;
use crate::streams::stream::{Opening, TextTrack};
use manifest::presentation::{AdaptationSet, Kind, Media, Representation};

/// What a track of subtitles takes at most, in bits per second, as far as it can be known before anything is said.
const TEXT_BITRATE: u64 = 16_000;

/// Subtitles of no track yet. A segment of them is there when it is whole.
pub(super) fn text(opening: &Opening<'_>) -> AdaptationSet {
    let representation =
        Representation { id: String::new(), bitrate: TEXT_BITRATE, codec: "wvtt".to_owned(), media: Media::Text };
    let set = set((Kind::Text, opening.plan.rate.timescale()), (opening, representation));
    AdaptationSet { early: None, reference_unix_ms: None, ..set }
}

/// `None` where the track has no cues in MP4.
pub(super) fn of_track(text: &AdaptationSet, track: &TextTrack) -> Option<AdaptationSet> {
    let mut set = AdaptationSet { language: track.language.clone().filter(|tag| is_language(tag)), ..text.clone() };
    set.representations.iter_mut().zip([track.fragments()?]).for_each(|(one, id)| one.id = id);
    Some(set)
}

/// RFC 5646, 2.1, as far as players insist on it: publishers say what they like.
fn is_language(tag: &str) -> bool {
    let mut subtags = tag.split('-');
    let is_primary = |subtag: &str| (2..=8).contains(&subtag.len()) && subtag.bytes().all(|b| b.is_ascii_alphabetic());
    let is_further =
        |subtag: &str| (1..=8).contains(&subtag.len()) && subtag.bytes().all(|b| b.is_ascii_alphanumeric());
    subtags.next().is_some_and(is_primary) && subtags.all(is_further)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_that_can_be_one() {
        for (tag, is_one) in [
            ("en", true),
            ("deu", true),
            ("pt-BR", true),
            ("zh-Hant-1", true),
            ("x_1", false),
            ("e", false),
            ("", false),
        ] {
            assert_eq!(is_language(tag), is_one, "{tag}");
        }
        assert!(!is_language("en-") && !is_language("en-123456789") && !is_language("1en"));
    }
}

//! The `@id` of each set of a period. Pure.
//!
//! A set has the same one in every period that it is in, whichever others come and go with rungs and workers: dash.js looks for the
//! set that it had by its `@id` first, and would go on with another sound.

use super::{AdaptationSet, Kind};

/// What a set is of, by its place.
const KNOWN: [(Kind, &str); 7] = [
    (Kind::Video, "avc1"),
    (Kind::Audio, "mp4a"),
    (Kind::Image, ""),
    (Kind::Video, "hvc1"),
    (Kind::Video, "av01"),
    (Kind::Video, "vp09"),
    (Kind::Audio, "opus"),
];

/// One for each of these, in their order. Those that are not known, and subtitles, count on from behind the others.
pub(super) fn ids(sets: &[AdaptationSet]) -> Vec<usize> {
    let mut ids = Vec::with_capacity(sets.len());
    for set in sets {
        let codec = set.representations.first().map_or("", |first| first.codec.as_str());
        let is_of = |(kind, family): &(Kind, &str)| *kind == set.kind && codec.split('.').next() == Some(*family);
        let place = KNOWN.iter().position(is_of).filter(|place| !ids.contains(place));
        ids.push(place.unwrap_or_else(|| (KNOWN.len()..).find(|id| !ids.contains(id)).unwrap_or_default()));
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presentation::{Media, Representation};

    fn set(kind: Kind, codec: &str) -> AdaptationSet {
        let representation = Representation { id: "a".into(), bitrate: 1, codec: codec.to_owned(), media: Media::Text };
        AdaptationSet {
            kind,
            timescale: 1,
            segment_ticks: 1,
            offset_ticks: 0,
            only: Vec::new(),
            first_number: 0,
            early: None,
            reference_unix_ms: None,
            protection: None,
            captions: Vec::new(),
            language: None,
            folder: "1".into(),
            init: "init.mp4".into(),
            representations: vec![representation],
        }
    }

    #[test]
    fn a_set_keeps_its_id_whatever_comes_and_goes() {
        let [avc, av1] = ["avc1.64001F", "av01.0.04M.08"].map(|codec| set(Kind::Video, codec));
        let [aac, opus] = ["mp4a.40.2", "opus"].map(|codec| set(Kind::Audio, codec));
        let (images, text) = (set(Kind::Image, ""), set(Kind::Text, "wvtt"));
        let all = [avc.clone(), av1, aac.clone(), opus.clone(), images, text.clone(), text.clone()];
        assert_eq!(ids(&all), [0, 4, 1, 6, 2, 7, 8]);
        assert_eq!(ids(&[avc.clone(), aac, opus, text]), [0, 1, 6, 7]);
        assert_eq!(ids(&[avc.clone(), avc]), [0, 7], "none is there twice");
    }
}

//! A checker of live HLS, anyone's: it reads playlists with a reader of its own and holds them against the rules by their sections.

pub mod rules;
pub mod text;
mod watch;

pub use watch::{Report, watch};

/// A rule of RFC 8216bis (draft-pantos-hls-rfc8216bis-22), or of Apple's authoring specification where its name begins so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    pub name: &'static str,
    pub section: &'static str,
    pub must: bool,
    pub says: &'static str,
}

/// Where a rule is broken, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: Rule,
    pub detail: String,
}

macro_rules! rules {
    ($($id:ident, $section:literal, $must:literal, $says:literal;)*) => {
        $(pub(crate) const $id: Rule = Rule { name: stringify!($id), section: $section, must: $must, says: $says };)*
        /// Every rule that is checked.
        pub const RULES: &[Rule] = &[$($id),*];
    };
}

rules! {
    FIRST_LINE, "4.4.1.1", true, "a playlist begins with EXTM3U";
    VERSION, "4.4.1.2, 8", true, "at most one EXT-X-VERSION; 9 at least where segments are skipped";
    TARGET_DURATION, "4.4.3.1", true, "there is one, and no EXTINF rounds to more";
    TARGET_CONSTANT, "6.2.1", true, "target duration and part target never change, and are those of the other renditions";
    PART_INF, "4.4.3.7", true, "EXT-X-PART-INF is there where parts are";
    HOLD_BACK, "4.4.3.8", true, "HOLD-BACK is at least three target durations";
    PART_HOLD_BACK, "4.4.3.8", true, "PART-HOLD-BACK is there where parts are, and at least two part targets";
    PART_HOLD_BACK_3, "4.4.3.8; Apple 14.3", true, "PART-HOLD-BACK is at least three part targets";
    SKIP_UNTIL, "4.4.3.8", true, "CAN-SKIP-UNTIL is at least six target durations";
    PART_LONG, "4.4.4.9", true, "no part is longer than PART-TARGET";
    PART_SHORT, "4.4.4.9", true, "no part is shorter than 85 % of PART-TARGET, but independent ones, the last of a segment and those at gaps";
    PART_SUM, "3.2", true, "a segment lasts as long as its parts together";
    BEFORE_PARTS, "4.4.4.9", true, "what applies to a segment comes before the first of its parts";
    PARTS_LEAVE, "6.2.2", false, "parts more than three target durations from the end are not listed";
    NEVER_BACK, "6.2.1, 6.2.2", true, "media sequence numbers never run backwards; what is listed stays as it is until it leaves";
    DISCONTINUITIES, "6.2.2", true, "EXT-X-DISCONTINUITY-SEQUENCE counts those that have left";
    MAP, "4.4.4.5; Apple 1.22", true, "fMP4 segments have an EXT-X-MAP that holds for them";
    DATES, "4.4.4.6; Apple 8.4", true, "every playlist has EXT-X-PROGRAM-DATE-TIME, and it goes on as the segments do";
    HINT, "4.4.5.3, 6.2.6", true, "one EXT-X-PRELOAD-HINT of a type, none at the end, and it comes true";
    REPORTS, "4.4.5.4, B.1", true, "each media playlist with parts reports every other one of the presentation";
    END, "4.4.3.4", true, "an ended playlist never changes again";
    BLOCKING, "6.2.5.2", true, "a blocked reload brings what it asked for";
    DIRECTIVES, "6.2.5.2", true, "_HLS_part alone is refused with 400, what is there already is answered at once";
    TOO_FAR, "6.2.5.2", false, "a reload for more than two segments ahead is refused with 400";
    DELTA, "6.2.5.1", true, "a delta update and the playlist before it make the whole playlist";
    SAME_BYTES, "3.2", true, "a segment is its parts, one after the other";
    CADENCE, "6.2.1", true, "the next part comes within a part target of the last; half of one is allowed for the way";
    VARIANTS, "4.4.6.2; Apple 9.1, 9.2, 9.14, 9.15", true, "variants tell CODECS, RESOLUTION, FRAME-RATE, BANDWIDTH and AVERAGE-BANDWIDTH, and those agree";
    INDEPENDENT, "Apple 9.11", true, "EXT-X-INDEPENDENT-SEGMENTS is said";
    I_FRAMES, "Apple 6.1", true, "there are I-frame playlists";
    GZIP, "Apple 10.1", true, "playlists are compressed for those who take it";
}

#[cfg(test)]
mod canaries;

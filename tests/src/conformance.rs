//! A checker of live HLS and DASH, anyone's: it reads with readers of its own and holds what it sees against the rules by their sections.

pub mod beside;
mod codecs;
mod dash;
mod keys;
pub mod rates;
pub mod rules;
mod segments;
mod table;
pub mod text;
mod watch;

pub use table::{Named, tables, written};
pub use watch::{Report, watch};

/// A rule of RFC 8216bis (draft-pantos-hls-rfc8216bis-22), or of Apple's authoring specification where its section begins so;
/// of DASH, one of ISO/IEC 23009-1:2022, of CMAF (ISO/IEC 23000-19) or of the DASH-IF's low-latency rules (IOP LL).
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
    ($all:ident: $($id:ident, $section:literal, $must:literal, $says:literal;)*) => {
        $(pub(crate) const $id: Rule = Rule { name: stringify!($id), section: $section, must: $must, says: $says };)*
        /// Every one that is checked.
        pub const $all: &[Rule] = &[$($id),*];
    };
}

rules! { RULES:
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
    KEY, "4.4.4.4, 8", true, "EXT-X-KEY has a method that is known, and what that needs: with NONE nothing, else a URI, and an IV of 128 bits at most; keys of one segment agree";
    KEY_MAP, "4.4.4.5", true, "an init section that is encrypted as a whole is told its IV";
    KEY_INIT, "4.4.4.4; ISO/IEC 23001-7, 8.2", true, "init sections name the scheme of SAMPLE-AES and the key id that is told; what no key is told for is in the clear";
    KEY_SEGMENT, "4.4.4.4", true, "a segment that is encrypted as a whole is padded to blocks";
    KEY_PARTS, "3.2, 4.4.4.4", false, "it has no parts: none could be decrypted alone, and be a piece of it";
    KEY_THERE, "4.4.4.4", true, "a key that players fetch is 16 bytes, for those who get it without a token";
    SESSION_KEY, "4.4.6.4", true, "an EXT-X-SESSION-KEY is told once, and agrees with each EXT-X-KEY of its URI";
    DATES, "4.4.4.6; Apple 8.4", true, "every playlist has EXT-X-PROGRAM-DATE-TIME, and it goes on as the segments do";
    DATE_RANGES, "4.4.5.1", true, "an EXT-X-DATERANGE has ID and START-DATE, END-ON-NEXT a CLASS and no end; one that is listed keeps what it said";
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
    CODECS, "4.4.6.2; RFC 6381", true, "CODECS names what the init sections of a variant and of its sound hold";
    PEAK_RATE, "4.4.6.2; Apple 1.27, 1.29", true, "BANDWIDTH is a bound of what a variant and its sound weigh at most: exceeded by less than a quarter while live; within a tenth once ended";
    AVERAGE_RATE, "4.4.6.2; Apple 1.26, 1.28", false, "AVERAGE-BANDWIDTH is within a tenth of what they weigh on average; while live, exceeded by less than that over an hour";
    SEGMENTS_THERE, "6.2.1", true, "each segment that is listed can be had, and its init section, but those at gaps";
    IMAGES, "Image Media Playlists 0.4", true, "an image playlist says so, lists no parts and no init section, and tells the tiles of each image, which last as long as it";
    IMAGE_GRID, "Image Media Playlists 0.4", true, "an image is a whole JPEG, of the size of its tiles together";
    VTT, "3.1.4", true, "a segment of subtitles is WebVTT: its signature, and cues that begin before they end";
    VTT_MAP, "3.1.4", false, "it says in X-TIMESTAMP-MAP where it is in the media";
    VTT_CUES, "3.1.4", true, "its cues are shown in the time of the segment, as that tells and as the media of the same number are";
    INDEPENDENT, "Apple 9.11", true, "EXT-X-INDEPENDENT-SEGMENTS is said";
    I_FRAMES, "Apple 6.1", true, "there are I-frame playlists";
    GZIP, "Apple 10.1", true, "playlists are compressed for those who take it";
}

rules! { DASH_RULES:
    MPD_ROOT, "5.3.1.2", true, "the root is an MPD of its namespace, with profiles and minBufferTime";
    MPD_DYNAMIC, "5.3.1.2", true, "a dynamic MPD has availabilityStartTime, publishTime and minimumUpdatePeriod";
    MPD_STATIC, "5.3.1.2", true, "a static MPD says how long it is";
    MPD_ORDER, "5.3.1.3, 5.3.2.3, 5.3.3.3", true, "elements come in the order of the schema";
    MPD_CLOCK, "5.8.4.11; IOP LL", true, "there is a UTCTiming, and it agrees with this machine's clock within a second";
    MPD_START, "5.4", true, "availabilityStartTime never changes";
    MPD_PUBLISHED, "5.4", true, "publishTime never goes back, and is another where the MPD is";
    MPD_PERIODS, "5.3.2.2", true, "periods have an id each and begin one after the other";
    MPD_STAYS, "5.4", true, "what is told of a period stays while it is told";
    MPD_SETS, "5.3.3.2", true, "adaptation sets tell what they hold, in one codec, and align their segments where they have several representations";
    MPD_REPRESENTATIONS, "5.3.5.2, 5.3.7.2", true, "representations have an id of their own, bandwidth, codecs and, of pictures, a size";
    MPD_TEMPLATE, "5.3.9.4", true, "templates tell segments apart, how long they are and where their init section is";
    MPD_EARLY, "5.3.9.5.3; IOP LL", true, "where segments can be had before they are whole, availabilityTimeComplete says so";
    MPD_LATENCY, "K.3; IOP LL", true, "where they can, ServiceDescription tells the latency, and ProducerReferenceTime what it counts from";
    MPD_TYPE, "Annex C", true, "an MPD is sent as application/dash+xml";
    MPD_KEYS, "5.8.4.1; IOP 6", true, "what is encrypted tells its scheme, and one default_KID";
    SEG_KEYS, "ISO/IEC 23001-7, 8.2", true, "init sections have the scheme and the key id that the MPD tells, or neither";
    SEG_CODEC, "5.3.7.2; RFC 6381", true, "init sections hold what codecs tells";
    SEG_THERE, "5.3.9.5.3", true, "a segment can be had from its availability time on, until the time shift buffer has left it behind";
    SEG_NOT_YET, "5.3.9.5.3", false, "a segment far ahead cannot be had";
    SEG_GROWS, "IOP LL", true, "a segment that is being made comes chunk by chunk";
    SEG_IMAGE, "IOP 6.2.6", true, "an image is a whole JPEG";
    SEG_TILES, "IOP 6.2.6", true, "it has the size that its representation tells, which its tiles divide";
    SEG_TEXT, "ISO/IEC 14496-30, 7.5", true, "text is sent as application/mp4, and its init section has the sample entry that codecs tells";
    SEG_CUES, "ISO/IEC 14496-30, 7.4", true, "each of its samples is an empty cue, or cues with a payload each";
    SEG_BOXES, "CMAF 7.3", true, "a segment is moof and mdat, one or more, with nothing unknown before a moof";
    SEG_TIME, "5.3.9.5.3", true, "its media time is that of its number, within half a segment";
    SEG_LENGTH, "7.2.1", true, "it lasts as long as is said, within half a segment";
    SEG_WHOLE, "CMAF 7.3.2.3", true, "its fragments follow each other without a hole in decode time";
    SEG_SAP, "5.3.3.2", true, "it begins with a sync sample where startWithSAP says so";
    SEG_CLOCK, "5.12; IOP LL", true, "its wall clocks (prft) are there where they are announced, and agree with the MPD's within 100 ms";
}

#[cfg(test)]
mod canaries;

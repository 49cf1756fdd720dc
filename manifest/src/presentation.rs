//! An MPD as a value, and its text: number-based templates over CMAF, live or ended (ISO/IEC 23009-1, 5.3; DASH-IF Low-Latency Modes).

mod ids;

use crate::date::Rfc3339;
use crate::protection::ContentProtection;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::{Display, Write};
use std::time::Duration;

/// Everything an MPD of ours says. No name in it needs escaping: callers give letters, digits, `.`, `_`, `-` and `/`.
#[derive(Clone, Debug, PartialEq)]
pub struct Presentation {
    pub state: State,
    /// `@maxSegmentDuration`.
    pub segment_max: Duration,
    /// `@minBufferTime`.
    pub buffer_min: Duration,
    /// Oldest first.
    pub periods: Vec<Period>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// `@type="dynamic"`. Times count from 1970-01-01, so that no restart changes `@availabilityStartTime`.
    Live(Live),
    /// `@type="static"`, with `@mediaPresentationDuration`.
    Ended { duration: Duration },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// `@publishTime`, in Unix milliseconds: when this MPD was first true.
    pub published_unix_ms: i64,
    /// `@timeShiftBufferDepth`.
    pub window: Duration,
    /// `@minimumUpdatePeriod`.
    pub update: Duration,
    /// ServiceDescription's Latency `@target`.
    pub latency: Duration,
    /// Where the time of day is, as ISO 8601: UTCTiming `urn:mpeg:dash:utc:http-iso:2014`.
    pub clock_uri: String,
}

/// A life of the encoder: numbers and times go on through it without a hole.
#[derive(Clone, Debug, PartialEq)]
pub struct Period {
    pub id: String,
    /// `@start`: since 1970-01-01 where the presentation is live, since its own beginning where it has ended.
    pub start: Duration,
    /// `@duration`, once no segment will be added.
    pub duration: Option<Duration>,
    pub events: Vec<Event>,
    pub sets: Vec<AdaptationSet>,
}

/// Something that is said of a time in a period.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub id: u32,
    /// `@presentationTime`: since the period began.
    pub at: Duration,
    pub duration: Option<Duration>,
    pub message: Message,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// A splice_info_section, in an EventStream of `urn:scte:scte35:2014:xml+bin`.
    Scte35(Vec<u8>),
    /// Text without characters that XML needs escaped, in an EventStream of [`MARKERS`].
    Text(String),
}

/// Names that ContentProtection uses.
const NAMES_OF_PROTECTION: &str = " xmlns:cenc=\"urn:mpeg:cenc:2013\" xmlns:dashif=\"https://dashif.org/CPS\"";
/// The scheme of events that are no splices.
pub const MARKERS: &str = "urn:vivid:markers:2026";
const SPLICES: &str = "urn:scte:scte35:2014:xml+bin";

#[derive(Clone, Debug, PartialEq)]
pub struct AdaptationSet {
    pub kind: Kind,
    /// `@duration` of every segment, `@presentationTimeOffset` of the first, in ticks of `timescale`.
    pub timescale: u64,
    pub segment_ticks: u64,
    pub offset_ticks: u64,
    /// Where it has these segments and no other: how long each is (SegmentTimeline).
    pub only: Vec<u64>,
    /// `@startNumber`: the segment that begins with the period.
    pub first_number: u64,
    /// How long before its end a segment can be asked for, where it can: all but its first chunk.
    pub early: Option<Duration>,
    /// When the first picture of the period came to the encoder, in Unix milliseconds: ProducerReferenceTime.
    pub reference_unix_ms: Option<i64>,
    /// How its media are encrypted, if they are.
    pub protection: Option<ContentProtection>,
    /// Captions in its pictures, as HLS names them: `CC1`, `SERVICE1`.
    pub captions: Vec<String>,
    /// `@lang` (RFC 5646).
    pub language: Option<String>,
    /// Steps of the path between representation and file: `{representation}/{folder}/{number}.m4s`, of images `.jpg`.
    pub folder: String,
    /// The file of the init section, in the same folder.
    pub init: String,
    pub representations: Vec<Representation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Video,
    Audio,
    /// Thumbnails (DASH-IF IOP, 6.2.6).
    Image,
    /// Subtitles in MP4 (ISO/IEC 14496-30).
    Text,
}

/// Bit rates in bits per second.
#[derive(Clone, Debug, PartialEq)]
pub struct Representation {
    /// `@id`: a step of the path.
    pub id: String,
    /// `@bandwidth`.
    pub bitrate: u64,
    /// RFC 6381; empty for images, whose media type says all.
    pub codec: String,
    pub media: Media,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// Size in pixels; frames per second as a fraction.
    Video {
        width: u32,
        height: u32,
        rate: (u32, u32),
    },
    Audio {
        sample_rate: u32,
        channels: u16,
    },
    /// Size of the whole image in pixels, and the pictures in it.
    Tiles {
        width: u32,
        height: u32,
        columns: u32,
        rows: u32,
    },
    Text,
}

/// How the time of a reference is written: without it, it would be read as the bits of NTP (5.12).
const UTC: &str = "urn:mpeg:dash:utc:direct:2014";
/// What a set is for (5.8.5.5).
const ROLE: &str = "urn:mpeg:dash:role:2011";
/// Several pictures in one image (DASH-IF IOP, 6.2.6).
const TILES: &str = "http://dashif.org/guidelines/thumbnail_tile";
/// Playback may run slower and faster by so much to keep the latency; few hear it.
const PLAYBACK_RATE: (f64, f64) = (0.96, 1.04);

impl Presentation {
    pub fn render(&self) -> String {
        let sets = self.periods.iter().flat_map(|period| &period.sets);
        let representations = sets.map(|set| set.representations.len()).sum::<usize>();
        let mut out = String::with_capacity(1024 + 1024 * self.periods.len() + 256 * representations);
        self.render_into(&mut out).map_or_else(|_| String::new(), |()| out)
    }

    fn is_protected(&self) -> bool {
        self.periods.iter().flat_map(|period| &period.sets).any(|set| set.protection.is_some())
    }

    fn render_into(&self, out: &mut String) -> std::fmt::Result {
        write!(
            out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"{} \
             profiles=\"urn:mpeg:dash:profile:isoff-live:2011,urn:mpeg:dash:profile:cmaf:2019\"",
            if self.is_protected() { NAMES_OF_PROTECTION } else { "" }
        )?;
        match &self.state {
            State::Live(live) => {
                write!(
                    out,
                    " type=\"dynamic\" availabilityStartTime=\"1970-01-01T00:00:00Z\" publishTime=\"{}\" \
                     minimumUpdatePeriod=\"{}\" timeShiftBufferDepth=\"{}\" suggestedPresentationDelay=\"{}\"",
                    Rfc3339(live.published_unix_ms),
                    Xs(live.update),
                    Xs(live.window),
                    Xs(live.latency)
                )?;
            }
            State::Ended { duration } => {
                write!(out, " type=\"static\" mediaPresentationDuration=\"{}\"", Xs(*duration))?;
            }
        }
        let (segment, buffer) = (Xs(self.segment_max), Xs(self.buffer_min));
        writeln!(out, " maxSegmentDuration=\"{segment}\" minBufferTime=\"{buffer}\">")?;
        if let State::Live(live) = &self.state {
            let latency_ms = (live.latency + Duration::from_micros(500)).as_millis();
            writeln!(
                out,
                " <ServiceDescription id=\"0\">\n  <Latency target=\"{latency_ms}\" min=\"{}\" max=\"{}\" \
                 referenceId=\"0\"/>\n  <PlaybackRate min=\"{:.2}\" max=\"{:.2}\"/>\n </ServiceDescription>",
                latency_ms * 3 / 4,
                latency_ms * 3,
                PLAYBACK_RATE.0,
                PLAYBACK_RATE.1
            )?;
        }
        let (live, clock) = match &self.state {
            State::Live(live) => (true, Some(&live.clock_uri)),
            State::Ended { .. } => (false, None),
        };
        self.periods.iter().try_for_each(|period| period.render_into(out, live))?;
        // 5.8.4.11: after the periods, by the order of the schema.
        if let Some(clock_uri) = clock {
            writeln!(out, " <UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"{clock_uri}\"/>")?;
        }
        writeln!(out, "</MPD>")
    }
}

impl Period {
    fn render_into(&self, out: &mut String, live: bool) -> std::fmt::Result {
        write!(out, " <Period id=\"{}\" start=\"{}\"", self.id, Xs(self.start))?;
        if let Some(duration) = self.duration {
            write!(out, " duration=\"{}\"", Xs(duration))?;
        }
        writeln!(out, ">")?;
        // 5.3.2.2: before the sets, by the order of the schema.
        self.render_events_into(out, SPLICES)?;
        self.render_events_into(out, MARKERS)?;
        self.sets.iter().zip(ids::ids(&self.sets)).try_for_each(|(set, id)| set.render_into(out, (id, live)))?;
        writeln!(out, " </Period>")
    }
}

impl Period {
    fn render_events_into(&self, out: &mut String, scheme: &str) -> std::fmt::Result {
        let mut events = self.events.iter().filter(|event| event.message.scheme() == scheme).peekable();
        if events.peek().is_none() {
            return Ok(());
        }
        writeln!(out, "  <EventStream schemeIdUri=\"{scheme}\" timescale=\"1000\">")?;
        for event in events {
            write!(out, "   <Event id=\"{}\" presentationTime=\"{}\"", event.id, event.at.as_millis())?;
            if let Some(duration) = event.duration {
                write!(out, " duration=\"{}\"", duration.as_millis())?;
            }
            match &event.message {
                Message::Scte35(section) => writeln!(
                    out,
                    "><Signal xmlns=\"http://www.scte.org/schemas/35/2016\"><Binary>{}</Binary></Signal></Event>",
                    STANDARD.encode(section)
                )?,
                Message::Text(text) => writeln!(out, ">{text}</Event>")?,
            }
        }
        writeln!(out, "  </EventStream>")
    }
}

impl Message {
    fn scheme(&self) -> &'static str {
        match self {
            Self::Scte35(_) => SPLICES,
            Self::Text(_) => MARKERS,
        }
    }
}

impl AdaptationSet {
    fn render_into(&self, out: &mut String, (id, live): (usize, bool)) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::Video => "video",
            Kind::Audio => "audio",
            Kind::Image => "image",
            Kind::Text => "text",
        };
        write!(out, "  <AdaptationSet id=\"{id}\" contentType=\"{kind}\"")?;
        if let Some(language) = &self.language {
            write!(out, " lang=\"{language}\"")?;
        }
        match self.kind {
            Kind::Video | Kind::Audio => {
                writeln!(out, " mimeType=\"{kind}/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\">")?;
            }
            Kind::Image => writeln!(out, " mimeType=\"image/jpeg\" segmentAlignment=\"true\">")?,
            Kind::Text => writeln!(out, " mimeType=\"application/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\">")?,
        }
        // 5.3.7.2: before all else, by the order of the schema.
        self.protection.iter().try_for_each(|protection| protection.render_into(out))?;
        if let Some(unix_ms) = self.reference_unix_ms.filter(|_| live) {
            writeln!(
                out,
                "   <ProducerReferenceTime id=\"{id}\" inband=\"true\" type=\"encoder\" wallClockTime=\"{}\" \
                 presentationTime=\"{}\">\n    <UTCTiming schemeIdUri=\"{UTC}\" value=\"{}\"/>\n   \
                 </ProducerReferenceTime>",
                Rfc3339(unix_ms),
                self.offset_ticks,
                Rfc3339(unix_ms)
            )?;
        }
        for channel in &self.captions {
            // ANSI/SCTE 214-1, 7.2: languages are not told in the bitstream.
            let (scheme, value) = match channel.strip_prefix("SERVICE") {
                Some(service) => ("urn:scte:dash:cc:cea-708:2015", format!("{service}=lang:und")),
                None => ("urn:scte:dash:cc:cea-608:2015", format!("{channel}=und")),
            };
            writeln!(out, "   <Accessibility schemeIdUri=\"{scheme}\" value=\"{value}\"/>")?;
        }
        if self.kind == Kind::Text {
            writeln!(out, "   <Role schemeIdUri=\"{ROLE}\" value=\"subtitle\"/>")?;
        }
        write!(
            out,
            "   <SegmentTemplate timescale=\"{}\" startNumber=\"{}\" presentationTimeOffset=\"{}\"",
            self.timescale, self.first_number, self.offset_ticks
        )?;
        if self.only.is_empty() {
            write!(out, " duration=\"{}\"", self.segment_ticks)?;
        }
        if let Some(early) = self.early.filter(|_| live) {
            // dash.js takes a stream for low latency by the second of them alone.
            write!(
                out,
                " availabilityTimeOffset=\"{:.3}\" availabilityTimeComplete=\"false\"",
                early.as_millis() as f64 / 1000.0
            )?;
        }
        let Self { folder, init, .. } = self;
        let extension = if self.kind == Kind::Image { "jpg" } else { "m4s" };
        if self.kind != Kind::Image {
            write!(out, " initialization=\"$RepresentationID$/{folder}/{init}\"")?;
        }
        write!(out, " media=\"$RepresentationID$/{folder}/$Number$.{extension}\"")?;
        self.render_only_into(out)?;
        self.representations.iter().try_for_each(|representation| representation.render_into(out))?;
        writeln!(out, "  </AdaptationSet>")
    }
}

impl AdaptationSet {
    /// The end of its SegmentTemplate, with the segments that are all there are.
    fn render_only_into(&self, out: &mut String) -> std::fmt::Result {
        if self.only.is_empty() {
            return writeln!(out, "/>");
        }
        writeln!(out, ">\n    <SegmentTimeline>")?;
        let mut at = self.offset_ticks;
        for ticks in &self.only {
            writeln!(out, "     <S t=\"{at}\" d=\"{ticks}\"/>")?;
            at += ticks;
        }
        writeln!(out, "    </SegmentTimeline>\n   </SegmentTemplate>")
    }
}

impl Representation {
    fn render_into(&self, out: &mut String) -> std::fmt::Result {
        let Self { id, bitrate, codec, media } = self;
        write!(out, "   <Representation id=\"{id}\" bandwidth=\"{bitrate}\"")?;
        if !codec.is_empty() {
            write!(out, " codecs=\"{codec}\"")?;
        }
        match media {
            Media::Video { width, height, rate: (num, den) } => {
                write!(out, " width=\"{width}\" height=\"{height}\" frameRate=\"{num}")?;
                if *den != 1 {
                    write!(out, "/{den}")?;
                }
                writeln!(out, "\"/>")
            }
            Media::Text => writeln!(out, "/>"),
            Media::Tiles { width, height, columns, rows } => writeln!(
                out,
                " width=\"{width}\" height=\"{height}\">\n    <EssentialProperty schemeIdUri=\"{TILES}\" \
                 value=\"{columns}x{rows}\"/>\n   </Representation>"
            ),
            Media::Audio { sample_rate, channels } => writeln!(
                out,
                " audioSamplingRate=\"{sample_rate}\">\n    <AudioChannelConfiguration \
                 schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" value=\"{channels}\"/>\n   \
                 </Representation>"
            ),
        }
    }
}

/// A duration as XML Schema writes it, to the nearest millisecond.
struct Xs(Duration);

impl Display for Xs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = (self.0 + Duration::from_micros(500)).as_millis();
        write!(f, "PT{}.{:03}S", ms / 1000, ms % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mpd;

    fn presentation(state: State) -> Presentation {
        let video = Representation {
            id: "720p".into(),
            bitrate: 3_000_000,
            codec: "avc1.64001F".into(),
            media: Media::Video { width: 1280, height: 720, rate: (30_000, 1001) },
        };
        let audio = Representation {
            id: "audio".into(),
            bitrate: 128_000,
            codec: "mp4a.40.2".into(),
            media: Media::Audio { sample_rate: 48_000, channels: 2 },
        };
        let set = |kind, timescale: u64, representation| AdaptationSet {
            kind,
            timescale,
            segment_ticks: 2 * timescale,
            offset_ticks: 14 * timescale,
            only: Vec::new(),
            first_number: 7,
            early: Some(Duration::from_millis(1734)),
            reference_unix_ms: Some(1_795_226_400_500),
            protection: None,
            captions: Vec::new(),
            language: None,
            folder: "e1".into(),
            init: "init.mp4".into(),
            representations: vec![representation],
        };
        Presentation {
            state,
            segment_max: Duration::from_secs(2),
            buffer_min: Duration::from_millis(800),
            periods: vec![Period {
                id: "e1".into(),
                start: Duration::from_millis(1_795_226_400_500),
                duration: None,
                events: Vec::new(),
                sets: vec![set(Kind::Video, 30_000, video), set(Kind::Audio, 48_000, audio)],
            }],
        }
    }

    fn live() -> State {
        State::Live(Live {
            published_unix_ms: 1_795_226_400_500,
            window: Duration::from_secs(12),
            update: Duration::from_secs(2),
            latency: Duration::from_millis(1500),
            clock_uri: "/_vivid/time".into(),
        })
    }

    #[test]
    fn a_live_mpd_says_what_low_latency_players_need() {
        let text = presentation(live()).render();
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" \
            profiles=\"urn:mpeg:dash:profile:isoff-live:2011,urn:mpeg:dash:profile:cmaf:2019\" type=\"dynamic\" \
            availabilityStartTime=\"1970-01-01T00:00:00Z\" publishTime=\"2026-11-21T02:00:00.500Z\" \
            minimumUpdatePeriod=\"PT2.000S\" timeShiftBufferDepth=\"PT12.000S\" \
            suggestedPresentationDelay=\"PT1.500S\" maxSegmentDuration=\"PT2.000S\" minBufferTime=\"PT0.800S\">\n \
            <ServiceDescription id=\"0\">\n  <Latency target=\"1500\" min=\"1125\" max=\"4500\" referenceId=\"0\"/>\n  \
            <PlaybackRate min=\"0.96\" max=\"1.04\"/>\n </ServiceDescription>\n \
            <Period id=\"e1\" start=\"PT1795226400.500S\">\n  \
            <AdaptationSet id=\"0\" contentType=\"video\" mimeType=\"video/mp4\" segmentAlignment=\"true\" \
            startWithSAP=\"1\">\n   <ProducerReferenceTime id=\"0\" inband=\"true\" type=\"encoder\" \
            wallClockTime=\"2026-11-21T02:00:00.500Z\" presentationTime=\"420000\">\n    \
            <UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:direct:2014\" value=\"2026-11-21T02:00:00.500Z\"/>\n   \
            </ProducerReferenceTime>\n   \
            <SegmentTemplate timescale=\"30000\" startNumber=\"7\" \
            presentationTimeOffset=\"420000\" duration=\"60000\" availabilityTimeOffset=\"1.734\" availabilityTimeComplete=\"false\" \
            initialization=\"$RepresentationID$/e1/init.mp4\" media=\"$RepresentationID$/e1/$Number$.m4s\"/>\n   \
            <Representation id=\"720p\" bandwidth=\"3000000\" codecs=\"avc1.64001F\" width=\"1280\" height=\"720\" \
            frameRate=\"30000/1001\"/>\n  </AdaptationSet>\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.ends_with("value=\"/_vivid/time\"/>\n</MPD>\n"), "{text}");
    }

    #[test]
    fn captions_are_told_of_the_pictures_that_carry_them() {
        let mut said = presentation(live());
        said.periods[0].sets[0].captions = vec!["CC1".into(), "SERVICE2".into()];
        let expected = "   <Accessibility schemeIdUri=\"urn:scte:dash:cc:cea-608:2015\" value=\"CC1=und\"/>\n   \
            <Accessibility schemeIdUri=\"urn:scte:dash:cc:cea-708:2015\" value=\"2=lang:und\"/>\n   <SegmentTemplate";
        assert!(said.render().contains(expected), "{}", said.render());
    }

    #[test]
    fn subtitles_say_their_language_and_what_they_are_for() {
        let mut said = presentation(live());
        let text = Representation { id: "cues-en".into(), bitrate: 16_000, codec: "wvtt".into(), media: Media::Text };
        let pictures = &said.periods[0].sets[0];
        let set = AdaptationSet {
            kind: Kind::Text,
            early: None,
            reference_unix_ms: None,
            language: Some("en".into()),
            representations: vec![text],
            ..pictures.clone()
        };
        said.periods[0].sets.push(set);
        let expected = "  <AdaptationSet id=\"7\" contentType=\"text\" lang=\"en\" mimeType=\"application/mp4\" \
            segmentAlignment=\"true\" startWithSAP=\"1\">\n   \
            <Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"subtitle\"/>\n   \
            <SegmentTemplate timescale=\"30000\" startNumber=\"7\" \
            presentationTimeOffset=\"420000\" duration=\"60000\" initialization=\"$RepresentationID$/e1/init.mp4\" \
            media=\"$RepresentationID$/e1/$Number$.m4s\"/>\n   \
            <Representation id=\"cues-en\" bandwidth=\"16000\" codecs=\"wvtt\"/>\n  </AdaptationSet>\n";
        assert!(said.render().contains(expected), "{}", said.render());
    }

    #[test]
    fn segments_that_are_all_there_are_can_be_listed() {
        let mut said = presentation(live());
        said.periods[0].sets[1].only = vec![96_000, 40_000];
        let text = said.render();
        let expected = "$Number$.m4s\">\n    <SegmentTimeline>\n     <S t=\"672000\" d=\"96000\"/>\n     \
            <S t=\"768000\" d=\"40000\"/>\n    </SegmentTimeline>\n   </SegmentTemplate>\n";
        assert!(text.contains(expected) && text.matches(" duration=").count() == 1, "{text}");
        assert!(mpd::read(&text).is_ok());
    }

    #[test]
    fn what_is_encrypted_says_so_before_all_else() {
        let mut said = presentation(live());
        let key_id = [0x11; 16];
        said.periods[0].sets[1].protection = Some(ContentProtection { key_id, license_uri: None });
        said.periods[0].sets[1].init = "init.k.mp4".into();
        let text = said.render();
        assert!(text.contains("xmlns:cenc=\"urn:mpeg:cenc:2013\" xmlns:dashif="), "{text}");
        assert_eq!(text.matches("<ContentProtection ").count(), 2, "{text}");
        assert!(text.contains("startWithSAP=\"1\">\n   <ContentProtection schemeIdUri"), "{text}");
        assert!(text.contains("initialization=\"$RepresentationID$/e1/init.k.mp4\""), "{text}");
        assert!(mpd::read(&text).is_ok());
    }

    #[test]
    fn events_stand_before_the_sets_of_their_period() {
        let mut said = presentation(live());
        let event = |id, at_s, message| Event { id, at: Duration::from_secs(at_s), duration: None, message };
        let splice =
            Event { duration: Some(Duration::from_secs(30)), ..event(7, 4, Message::Scte35(vec![0xfc, 0x30])) };
        said.periods[0].events = vec![splice, event(8, 5, Message::Text("ID=goal;".into()))];
        let text = said.render();
        let expected = "start=\"PT1795226400.500S\">\n  \
            <EventStream schemeIdUri=\"urn:scte:scte35:2014:xml+bin\" timescale=\"1000\">\n   \
            <Event id=\"7\" presentationTime=\"4000\" duration=\"30000\">\
            <Signal xmlns=\"http://www.scte.org/schemas/35/2016\"><Binary>/DA=</Binary></Signal></Event>\n  \
            </EventStream>\n  <EventStream schemeIdUri=\"urn:vivid:markers:2026\" timescale=\"1000\">\n   \
            <Event id=\"8\" presentationTime=\"5000\">ID=goal;</Event>\n  </EventStream>\n  <AdaptationSet id=\"0\"";
        assert!(text.contains(expected), "{text}");
        assert_eq!(
            mpd::read(&text).unwrap().templates.len(),
            mpd::read(&presentation(live()).render()).unwrap().templates.len()
        );
    }

    #[test]
    fn what_is_rendered_is_followed() {
        let read = mpd::read(&presentation(live()).render()).unwrap();
        assert!(read.dynamic);
        assert_eq!(read.published_unix_ms, Some(1_795_226_400_500));
        assert_eq!(read.minimum_update_period, Some(Duration::from_secs(2)));
        let media = read.templates.iter().find(|template| template.class == mpd::Class::Segment).unwrap();
        assert_eq!((media.suffix.as_str(), media.segment), (".m4s", Some(Duration::from_secs(2))));
        assert!(media.cadence.is_some_and(|cadence| cadence < Duration::from_millis(300)), "{media:?}");
    }

    #[test]
    fn an_ended_mpd_waits_for_nothing() {
        let text = presentation(State::Ended { duration: Duration::from_secs(60) }).render();
        for absent in ["availability", "UTCTiming", "minimumUpdatePeriod", "ServiceDescription", "ProducerReference"] {
            assert!(!text.contains(absent), "{absent}: {text}");
        }
        let read = mpd::read(&text).unwrap();
        assert!(!read.dynamic && text.contains("mediaPresentationDuration=\"PT60.000S\""), "{text}");
    }
}

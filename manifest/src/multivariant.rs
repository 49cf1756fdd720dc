//! A multivariant playlist as a value, and its text (RFC 8216bis, 4.4.6).

use crate::protection::Key;
use std::fmt::Write;

/// The renditions of one live stream.
#[derive(Clone, Debug, PartialEq)]
pub struct MultivariantPlaylist {
    /// Audio of which variants say which goes with them; players take the first that they can decode.
    pub audio: Vec<AudioRendition>,
    /// Captions in every variant's pictures, as INSTREAM-ID names them: `CC1`, `SERVICE1`.
    pub captions: Vec<String>,
    /// WebVTT that goes with every variant.
    pub subtitles: Vec<SubtitleRendition>,
    /// Thumbnails.
    pub images: Option<Images>,
    /// What the newest segments are encrypted with.
    pub key: Option<Key>,
    /// In the order in which players are to see them.
    pub variants: Vec<Variant>,
}

/// EXT-X-MEDIA of TYPE=AUDIO, in a group of its own: groups are the same sound, coded otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioRendition {
    /// GROUP-ID.
    pub group: String,
    pub channels: u16,
    pub uri: String,
}

/// EXT-X-MEDIA of TYPE=SUBTITLES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubtitleRendition {
    /// NAME, as a menu shows it.
    pub name: String,
    /// LANGUAGE (RFC 5646), where it is known.
    pub language: Option<String>,
    pub uri: String,
}

/// EXT-X-IMAGE-STREAM-INF (Image Media Playlists, version 0.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// BANDWIDTH.
    pub peak_bitrate: u64,
    /// RESOLUTION of each picture, in pixels.
    pub width: u32,
    pub height: u32,
    pub uri: String,
}

/// EXT-X-STREAM-INF. Bit rates are in bits per second and include the audio.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// BANDWIDTH: no segment exceeds it.
    pub peak_bitrate: u64,
    /// AVERAGE-BANDWIDTH.
    pub average_bitrate: u64,
    /// Every format in it (RFC 6381), video first.
    pub codecs: Vec<String>,
    /// RESOLUTION, in pixels.
    pub width: u32,
    pub height: u32,
    pub frame_rate_hz: f64,
    /// The group of its audio.
    pub audio: Option<String>,
    pub uri: String,
    /// `None` where no key frame can be had alone.
    pub trick_play: Option<TrickPlay>,
}

/// EXT-X-I-FRAME-STREAM-INF: the same picture, key frames alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrickPlay {
    /// BANDWIDTH: no key frame takes more.
    pub peak_bitrate: u64,
    /// The format of the picture.
    pub codec: String,
    pub uri: String,
}

/// NAME, as a menu shows it. All groups have the same members (4.4.6.1.1), and players that go from one to the other find theirs
/// by it.
const AUDIO_NAME: &str = "audio";
const CAPTIONS_GROUP: &str = "captions";
const SUBTITLES_GROUP: &str = "subtitles";

impl MultivariantPlaylist {
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(256 + 256 * self.variants.len());
        self.render_into(&mut out).map_or_else(|_| String::new(), |()| out)
    }

    fn render_into(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-INDEPENDENT-SEGMENTS")?;
        self.key.iter().try_for_each(|key| key.render_session_into(out))?;
        for AudioRendition { group, channels, uri } in &self.audio {
            writeln!(
                out,
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{group}\",NAME=\"{AUDIO_NAME}\",DEFAULT=YES,AUTOSELECT=YES,\
                 CHANNELS=\"{channels}\",URI=\"{uri}\""
            )?;
        }
        for channel in &self.captions {
            writeln!(
                out,
                "#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID=\"{CAPTIONS_GROUP}\",NAME=\"{channel}\",AUTOSELECT=YES,\
                 INSTREAM-ID=\"{channel}\""
            )?;
        }
        for SubtitleRendition { name, language, uri } in &self.subtitles {
            write!(out, "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"{SUBTITLES_GROUP}\",NAME=\"{name}\"")?;
            if let Some(language) = language {
                write!(out, ",LANGUAGE=\"{language}\"")?;
            }
            writeln!(out, ",AUTOSELECT=YES,URI=\"{uri}\"")?;
        }
        let groups: Vec<(&str, &str)> = [
            ("CLOSED-CAPTIONS", CAPTIONS_GROUP, !self.captions.is_empty()),
            ("SUBTITLES", SUBTITLES_GROUP, !self.subtitles.is_empty()),
        ]
        .into_iter()
        .filter_map(|(attribute, group, is_there)| is_there.then_some((attribute, group)))
        .collect();
        self.variants.iter().try_for_each(|variant| variant.render_into(out, &groups))?;
        self.variants.iter().try_for_each(|variant| variant.render_trick_play_into(out))?;
        let Some(Images { peak_bitrate, width, height, uri }) = &self.images else { return Ok(()) };
        writeln!(
            out,
            "#EXT-X-IMAGE-STREAM-INF:BANDWIDTH={peak_bitrate},RESOLUTION={width}x{height},CODECS=\"jpeg\",URI=\"{uri}\""
        )
    }
}

impl Variant {
    fn render_into(&self, out: &mut String, groups: &[(&str, &str)]) -> std::fmt::Result {
        write!(
            out,
            "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\",RESOLUTION={}x{},FRAME-RATE={:.3}",
            self.peak_bitrate,
            self.average_bitrate,
            self.codecs.join(","),
            self.width,
            self.height,
            self.frame_rate_hz
        )?;
        self.audio.iter().try_for_each(|group| write!(out, ",AUDIO=\"{group}\""))?;
        groups.iter().try_for_each(|(attribute, group)| write!(out, ",{attribute}=\"{group}\""))?;
        writeln!(out, "\n{}", self.uri)
    }

    fn render_trick_play_into(&self, out: &mut String) -> std::fmt::Result {
        let Some(TrickPlay { peak_bitrate, codec, uri }) = &self.trick_play else { return Ok(()) };
        let Self { width, height, .. } = self;
        writeln!(
            out,
            "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={peak_bitrate},CODECS=\"{codec}\",RESOLUTION={width}x{height},URI=\"{uri}\""
        )
    }
}

/// Whether a text is a multivariant playlist (RFC 8216bis, 4.4.6) and no media playlist. Either has tags that the other must
/// not have, so the first of them decides; `None` where none is there yet.
pub fn is_multivariant(text: &[u8]) -> Option<bool> {
    const MULTIVARIANT: [&[u8]; 3] = [b"#EXT-X-STREAM-INF:", b"#EXT-X-MEDIA:", b"#EXT-X-I-FRAME-STREAM-INF:"];
    const MEDIA: [&[u8]; 3] = [b"#EXT-X-TARGETDURATION:", b"#EXTINF:", b"#EXT-X-MEDIA-SEQUENCE:"];
    let begins = |line: &[u8], tags: &[&[u8]]| tags.iter().any(|tag| line.starts_with(tag));
    if !text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).starts_with(b"#EXTM3U") {
        return None;
    }
    text.split(|byte| *byte == b'\n').find_map(|line| match line {
        line if begins(line, &MULTIVARIANT) => Some(true),
        line if begins(line, &MEDIA) => Some(false),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::{self, Followed};

    fn variant(height: u32, codecs: &[&str]) -> Variant {
        Variant {
            peak_bitrate: 1_138_000,
            average_bitrate: 928_000,
            codecs: codecs.iter().map(|codec| (*codec).to_owned()).collect(),
            width: height * 16 / 9,
            height,
            frame_rate_hz: 30_000.0 / 1001.0,
            audio: codecs.get(1).map(|_| "audio".to_owned()),
            uri: format!("{height}p/index.m3u8"),
            trick_play: Some(TrickPlay {
                peak_bitrate: 1_000_000,
                codec: codecs[0].to_owned(),
                uri: format!("{height}p/iframes.m3u8"),
            }),
        }
    }

    fn empty() -> MultivariantPlaylist {
        MultivariantPlaylist {
            audio: vec![],
            captions: vec![],
            subtitles: vec![],
            images: None,
            key: None,
            variants: vec![],
        }
    }

    #[test]
    fn thumbnails_and_subtitles_are_told() {
        let subtitle = |name: &str, language: Option<&str>, uri: &str| SubtitleRendition {
            name: name.to_owned(),
            language: language.map(str::to_owned),
            uri: uri.to_owned(),
        };
        let images = Images { peak_bitrate: 24_000, width: 160, height: 90, uri: "thumbs/index.m3u8".into() };
        let subtitles =
            vec![subtitle("en", Some("en"), "text-en/index.m3u8"), subtitle("text", None, "text/index.m3u8")];
        let variants = vec![variant(360, &["avc1.42C01E"])];
        let text = MultivariantPlaylist { subtitles, images: Some(images), variants, ..empty() }.render();
        let told = "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subtitles\",NAME=\"en\",LANGUAGE=\"en\",AUTOSELECT=YES,\
            URI=\"text-en/index.m3u8\"\n\
            #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subtitles\",NAME=\"text\",AUTOSELECT=YES,URI=\"text/index.m3u8\"\n";
        assert!(text.contains(told), "{text}");
        assert!(text.contains(",SUBTITLES=\"subtitles\"\n360p/"), "{text}");
        let told = "\n#EXT-X-IMAGE-STREAM-INF:BANDWIDTH=24000,RESOLUTION=160x90,CODECS=\"jpeg\",\
            URI=\"thumbs/index.m3u8\"\n";
        assert!(text.ends_with(told), "{text}");
        let Ok(Followed::Multivariant(followed)) = follow::read(&text) else { panic!("not multivariant") };
        assert_eq!(followed.playlists, ["text-en/index.m3u8", "text/index.m3u8", "360p/index.m3u8"]);
    }

    #[test]
    fn a_ladder_with_audio_says_all_that_players_choose_by() {
        let audio = AudioRendition { group: "audio".into(), channels: 2, uri: "audio/index.m3u8".into() };
        let codecs = ["avc1.64001F", "mp4a.40.2"];
        let ladder = MultivariantPlaylist {
            audio: vec![audio],
            captions: vec![],
            subtitles: vec![],
            images: None,
            key: None,
            variants: vec![variant(720, &codecs), variant(360, &codecs)],
        };
        let expected = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"audio\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",\
            URI=\"audio/index.m3u8\"\n\
            #EXT-X-STREAM-INF:BANDWIDTH=1138000,AVERAGE-BANDWIDTH=928000,CODECS=\"avc1.64001F,mp4a.40.2\",\
            RESOLUTION=1280x720,FRAME-RATE=29.970,AUDIO=\"audio\"\n720p/index.m3u8\n\
            #EXT-X-STREAM-INF:BANDWIDTH=1138000,AVERAGE-BANDWIDTH=928000,CODECS=\"avc1.64001F,mp4a.40.2\",\
            RESOLUTION=640x360,FRAME-RATE=29.970,AUDIO=\"audio\"\n360p/index.m3u8\n\
            #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1000000,CODECS=\"avc1.64001F\",RESOLUTION=1280x720,\
            URI=\"720p/iframes.m3u8\"\n#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1000000,CODECS=\"avc1.64001F\",\
            RESOLUTION=640x360,URI=\"360p/iframes.m3u8\"\n";
        assert_eq!(ladder.render(), expected);
    }

    #[test]
    fn every_variant_names_its_own_group_and_all_groups_are_the_same_sound() {
        let audio =
            |name: &str, channels| AudioRendition { group: name.into(), channels, uri: format!("{name}/index.m3u8") };
        let mut opus = variant(360, &["av01.0.04M.08", "opus"]);
        opus.audio = Some("audio-opus".to_owned());
        let variants = vec![variant(360, &["avc1.64001F", "mp4a.40.2"]), opus];
        let audio = vec![audio("audio", 2), audio("audio-opus", 6)];
        let text = MultivariantPlaylist { audio, variants, ..empty() }.render();
        for told in [
            "GROUP-ID=\"audio\",NAME=\"audio\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",URI=\"audio/index.m3u8\"\n",
            "GROUP-ID=\"audio-opus\",NAME=\"audio\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"6\",",
            "CODECS=\"avc1.64001F,mp4a.40.2\",RESOLUTION=640x360,FRAME-RATE=29.970,AUDIO=\"audio\"\n",
            "CODECS=\"av01.0.04M.08,opus\",RESOLUTION=640x360,FRAME-RATE=29.970,AUDIO=\"audio-opus\"\n",
        ] {
            assert!(text.contains(told), "{told} in {text}");
        }
    }

    #[test]
    fn silent_streams_name_no_audio_group() {
        let text = MultivariantPlaylist { variants: vec![variant(360, &["avc1.42C01E"])], ..empty() }.render();
        assert!(!text.contains("AUDIO"), "{text}");
    }

    #[test]
    fn captions_are_told_in_every_variant() {
        let captions = vec!["CC1".to_owned(), "SERVICE1".to_owned()];
        let variants = vec![variant(720, &["avc1.64001F"]), variant(360, &["avc1.64001F"])];
        let text = MultivariantPlaylist { captions, variants, ..empty() }.render();
        let told = "#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID=\"captions\",NAME=\"CC1\",AUTOSELECT=YES,INSTREAM-ID=\"CC1\"\n\
            #EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID=\"captions\",NAME=\"SERVICE1\",AUTOSELECT=YES,INSTREAM-ID=\"SERVICE1\"\n";
        assert!(text.contains(told), "{text}");
        assert_eq!(text.matches(",CLOSED-CAPTIONS=\"captions\"\n").count(), 2, "{text}");
    }

    #[test]
    fn a_follower_finds_every_playlist() {
        let audio = AudioRendition { group: "audio".into(), channels: 2, uri: "audio/index.m3u8".into() };
        let text =
            MultivariantPlaylist { audio: vec![audio], variants: vec![variant(360, &["avc1.42C01E"])], ..empty() }
                .render();
        let Ok(Followed::Multivariant(followed)) = follow::read(&text) else { panic!("not multivariant") };
        assert_eq!(followed.playlists, ["audio/index.m3u8", "360p/index.m3u8"]);
    }
}

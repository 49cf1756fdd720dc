//! What a path below `/archive/` names. Whatever is not spelt as the origin spells it is nothing, so no path leads elsewhere. Pure.

use super::recording::Id;
use crate::epoch::EpochId;
use crate::keys::unhex;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The list of all recordings, or of one stream's.
    List(Option<String>),
    File(File),
    /// A key of a recording, by its id.
    Key(Id, [u8; 16]),
}

/// A file of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) id: Id,
    /// In the recording's folder.
    pub(crate) path: String,
    pub(crate) kind: Kind,
}

/// What that is, for its header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) media_type: &'static str,
    /// It names other files, which may be removed.
    pub(crate) is_manifest: bool,
}

impl Kind {
    /// Cache-Control. Nothing of a recording changes. What is removed is gone from caches within the hour all the same, since
    /// nobody finds its media without its playlists.
    pub(crate) fn caching(self) -> &'static str {
        if self.is_manifest { "public, max-age=3600" } else { "public, max-age=31536000, immutable" }
    }
}

impl Asked {
    /// `path` is what follows `/archive/`, decoded.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        match path.split('/').collect::<Vec<_>>()[..] {
            ["index.json"] => Some(Self::List(None)),
            [stream, "index.json"] => config::is_stream_name(stream).then(|| Self::List(Some(stream.to_owned()))),
            [stream, started, "keys", key] => Some(Self::Key(Id::parse(stream, started)?, unhex(key)?)),
            [stream, started, ..] => {
                let id = Id::parse(stream, started)?;
                let path = path.strip_prefix(&format!("{id}/"))?;
                Some(Self::File(File { id, kind: kind(path)?, path: path.to_owned() }))
            }
            _ => None,
        }
    }
}

/// What a file in a recording's folder is; `None` for one that nobody may ask for.
pub(crate) fn kind(path: &str) -> Option<Kind> {
    let steps: Vec<_> = path.split('/').collect();
    let (file, folders) = steps.split_last()?;
    let placed = match folders {
        [] => true,
        [rendition] => is_name(rendition),
        [rendition, epoch] => is_name(rendition) && epoch.parse::<EpochId>().is_ok(),
        _ => false,
    };
    let (stem, ending) = file.split_once('.')?;
    let of = |media_type, is_manifest| Some(Kind { media_type, is_manifest });
    let kind = match ending {
        "m3u8" => of("application/vnd.apple.mpegurl", true),
        "mpd" => of("application/dash+xml", true),
        // Which thumbnail is where, or else a segment of subtitles.
        "vtt" => of("text/vtt; charset=utf-8", stem == "index"),
        "mp4" | "m4s" if folders.first().is_some_and(|rendition| is_cues(rendition)) => of("application/mp4", false),
        "mp4" => of("video/mp4", false),
        _ if stem == "init" && ending.strip_suffix(".mp4").and_then(unhex).is_some() => of("video/mp4", false),
        "m4s" => of("video/iso.segment", false),
        "jpg" => of("image/jpeg", false),
        _ => None,
    };
    kind.filter(|_| placed && is_name(stem))
}

/// Of subtitles in MP4: `cues`, `cues-en`.
fn is_cues(rendition: &str) -> bool {
    rendition.strip_prefix("cues").is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Of a rendition, or of a file without its ending.
fn is_name(name: &str) -> bool {
    let usable = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(usable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    #[test]
    fn files_of_recordings_have_one_spelling() {
        for (path, media_type) in [
            ("index.m3u8", "application/vnd.apple.mpegurl"),
            ("index.mpd", "application/dash+xml"),
            ("720p/index.m3u8", "application/vnd.apple.mpegurl"),
            ("720p/iframes.m3u8", "application/vnd.apple.mpegurl"),
            ("720p/mwprg3xw/init.mp4", "video/mp4"),
            ("720p/mwprg3xw/init.00112233445566778899aabbccddeeff.mp4", "video/mp4"),
            ("audio/mwprg3xw/897613.m4s", "video/iso.segment"),
            ("cues-en/mwprg3xw/init.mp4", "application/mp4"),
            ("cues/mwprg3xw/897613.m4s", "application/mp4"),
            ("thumbnails/index.vtt", "text/vtt; charset=utf-8"),
            ("thumbnails/mwprg3xw/897613.jpg", "image/jpeg"),
        ] {
            let Some(Asked::File(file)) = Asked::parse(&format!("show/17/{path}")) else { panic!("{path}") };
            assert_eq!((file.path.as_str(), file.kind.media_type), (path, media_type));
            assert_eq!(file.id.to_string(), "show/17");
        }
        let id = Id { started: 17, stream: "show".into() };
        assert_eq!(Asked::parse(&format!("show/17/keys/{}", "ab".repeat(16))), Some(Asked::Key(id, [0xab; 16])));
        assert_eq!(Asked::parse("index.json"), Some(Asked::List(None)));
        assert_eq!(Asked::parse("show/index.json"), Some(Asked::List(Some("show".into()))));
    }

    #[test]
    fn nothing_else_has_a_name() {
        for path in [
            "",
            "/",
            "show",
            "show/",
            "show/17",
            "show/17/",
            "show/017/index.m3u8",
            "show/17/journal",
            "show/17/recording.json",
            "show/17/../index.m3u8",
            "show/17/./index.m3u8",
            "../17/index.m3u8",
            "show/17//index.m3u8",
            "show/17/720p/../index.m3u8",
            "show/17/720p/e/.m4s",
            "show/17/720p/E/1.m4s",
            "show/17/720p/e/f/1.m4s",
            "show/17/720p/e/1.m4s.new",
            "show/17/720p/e/1.0.m4s",
            "show/17/720p/e/init.0.mp4",
            "show/17/720p/e/index.00112233445566778899aabbccddeeff.mp4",
            "show/17/720p/e/init.00112233445566778899AABBCCDDEEFF.mp4",
            "show/17/keys/0",
            "show/017/keys/00112233445566778899aabbccddeeff",
            "show/17/720p/keys/00112233445566778899aabbccddeeff",
            "show/17/720p/e/1",
            "show/17/a\\b/index.m3u8",
            "show/17/a\0b/index.m3u8",
            "show/17/\u{ff0e}\u{ff0e}/index.m3u8",
            "show/lock",
            "show/given",
            "..",
            "../index.json",
        ] {
            assert_eq!(Asked::parse(path), None, "{path:?}");
        }
    }

    #[test]
    fn no_text_leads_outside_the_folder_of_its_recording() {
        let words =
            ["show", "17", "..", ".", "", "index.m3u8", "a", "1.m4s", "\\", "%2e", "init.mp4", "e", "\0", "index.json"];
        let mut rng = Rng::new(5);
        for _ in 0..50_000 {
            let steps: Vec<_> = (0..1 + rng.below(6)).map(|_| words[rng.below(words.len() as u64) as usize]).collect();
            let path = steps.join("/");
            if let Some(Asked::File(file)) = Asked::parse(&path) {
                assert_eq!(format!("{}/{}", file.id, file.path), path);
                let plain =
                    |step: &str| !step.is_empty() && !step.starts_with('.') && !step.contains(['\\', '\0', '%']);
                assert!(path.split('/').all(plain), "{path:?}");
            }
        }
    }
}

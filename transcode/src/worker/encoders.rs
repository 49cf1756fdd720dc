//! Whether this build of FFmpeg has the encoders that a ladder needs.

use super::{audio, encoder};
use config::{AudioCodec, Ladder, VideoCodec};

/// A ladder asks for what this build of FFmpeg cannot make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{codec} needs {encoder}, which this build of FFmpeg lacks; install Debian's libavcodec59, or write another codec"
)]
pub struct MissingEncoder {
    codec: &'static str,
    encoder: &'static str,
}

/// Asks libavcodec, which starts nothing.
///
/// # Errors
/// The first encoder that is not there.
pub fn check_encoders(ladder: &Ladder) -> Result<(), MissingEncoder> {
    missing(ladder, encoder::is_there, audio::is_there)
}

fn missing(
    ladder: &Ladder,
    has_video: impl Fn(VideoCodec) -> bool,
    has_audio: impl Fn(AudioCodec) -> bool,
) -> Result<(), MissingEncoder> {
    if let Some(codec) = ladder.codecs().into_iter().find(|codec| !has_video(*codec)) {
        return Err(MissingEncoder { codec: codec.name(), encoder: codec.encoder() });
    }
    match ladder.audio.codecs.iter().find(|codec| !has_audio(**codec)) {
        Some(AudioCodec::Aac) => Err(MissingEncoder { codec: "aac", encoder: "its own encoder of AAC" }),
        Some(AudioCodec::Opus) => Err(MissingEncoder { codec: "opus", encoder: "libopus" }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(text: &str) -> Ladder {
        config::Config::parse(&format!("[origin.ladder]\n{text}"), []).unwrap().origin.unwrap().ladder
    }

    #[test]
    fn what_is_missing_is_told_in_one_sentence() {
        let av1 = ladder("rungs = [{ height = 360, bitrate = 800000, codec = \"av1\" }]");
        let told = missing(&av1, |codec| codec != VideoCodec::Av1, |_| true).unwrap_err().to_string();
        assert!(told.starts_with("av1 needs SVT-AV1, which this build of FFmpeg lacks; install "), "{told}");
        assert_eq!(missing(&av1, |codec| codec != VideoCodec::Hevc, |codec| codec != AudioCodec::Opus), Ok(()));
        let opus = ladder("audio_codecs = [\"aac\", \"opus\"]");
        assert!(missing(&opus, |_| true, |codec| codec != AudioCodec::Opus).is_err());
    }

    #[test]
    fn debian_s_ffmpeg_has_them_all() {
        let text = "audio_codecs = [\"aac\", \"opus\"]\nrungs = [{ height = 360, bitrate = 800000 },
            { height = 360, bitrate = 800000, codec = \"av1\" }, { height = 360, bitrate = 800000, codec = \"hevc\" },
            { height = 360, bitrate = 800000, codec = \"vp9\" }]";
        assert_eq!(check_encoders(&ladder(text)), Ok(()));
    }
}

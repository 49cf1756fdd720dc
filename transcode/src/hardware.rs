//! Which encoder a rung has: a device's, where that is wanted and a trial of it succeeded, and else one of software. Pure.

use config::{Hardware, VideoCodec};

/// What encodes pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Engine {
    Software,
    Nvenc,
    Qsv,
    Vaapi,
}

/// What a trial of an encoder came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// As FFmpeg calls it.
    pub encoder: String,
    /// Why it is of no use, in a few words; `None` where it is.
    pub fault: Option<String>,
}

/// What encodes one rung, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) engine: Engine,
    pub(crate) why: String,
}

impl Engine {
    pub(crate) const ALL: [Self; 4] = [Self::Software, Self::Nvenc, Self::Qsv, Self::Vaapi];

    /// The encoder, as FFmpeg calls it. `None` where the maker of the device has none.
    pub(crate) fn encoder(self, codec: VideoCodec) -> Option<&'static str> {
        use VideoCodec::{Av1, H264, Hevc, Vp9};
        Some(match (self, codec) {
            (Self::Software, H264) => "libx264",
            (Self::Software, Hevc) => "libx265",
            (Self::Software, Av1) => "libsvtav1",
            (Self::Software, Vp9) => "libvpx-vp9",
            (Self::Nvenc, H264) => "h264_nvenc",
            (Self::Nvenc, Hevc) => "hevc_nvenc",
            (Self::Nvenc, Av1) => "av1_nvenc",
            (Self::Nvenc, Vp9) => return None,
            (Self::Qsv, H264) => "h264_qsv",
            (Self::Qsv, Hevc) => "hevc_qsv",
            (Self::Qsv, Av1) => "av1_qsv",
            (Self::Qsv, Vp9) => "vp9_qsv",
            (Self::Vaapi, H264) => "h264_vaapi",
            (Self::Vaapi, Hevc) => "hevc_vaapi",
            (Self::Vaapi, Av1) => "av1_vaapi",
            (Self::Vaapi, Vp9) => "vp9_vaapi",
        })
    }

    /// What the encoder of this name is.
    pub(crate) fn of(encoder: &str) -> Option<(Self, VideoCodec, &'static str)> {
        let all = Self::ALL.into_iter().flat_map(|engine| VideoCodec::ALL.map(|codec| (engine, codec)));
        let named = all.filter_map(|(engine, codec)| Some((engine, codec, engine.encoder(codec)?)));
        named.into_iter().find(|(_, _, name)| *name == encoder)
    }
}

/// The devices that may be chosen, the best first: what takes pictures as they are before what they have to be brought to.
pub(crate) fn candidates(wanted: Hardware) -> &'static [Engine] {
    match wanted {
        Hardware::Auto => &[Engine::Nvenc, Engine::Qsv, Engine::Vaapi],
        Hardware::Off => &[],
        Hardware::Nvenc => &[Engine::Nvenc],
        Hardware::Qsv => &[Engine::Qsv],
        Hardware::Vaapi => &[Engine::Vaapi],
    }
}

/// What encodes a rung of this codec on the machine of these trials.
pub(crate) fn choose(wanted: Hardware, codec: VideoCodec, trials: &[Trial]) -> Choice {
    let software = |why: String| Choice { engine: Engine::Software, why };
    if wanted == Hardware::Off {
        return software("no device is to be used".to_owned());
    }
    let mut faults = Vec::new();
    for &engine in candidates(wanted) {
        let tried = engine.encoder(codec).and_then(|name| trials.iter().find(|trial| trial.encoder == name));
        match tried {
            Some(Trial { fault: None, .. }) => return Choice { engine, why: "its trial succeeded".to_owned() },
            Some(Trial { encoder, fault: Some(fault) }) => faults.push(format!("{encoder} {fault}")),
            None => {}
        }
    }
    if faults.is_empty() {
        return software(format!("no device that encodes {} is there", codec.name()));
    }
    software(faults.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(encoder: &str, fault: Option<&str>) -> Trial {
        Trial { encoder: encoder.to_owned(), fault: fault.map(ToOwned::to_owned) }
    }

    #[test]
    fn a_rung_has_the_first_device_that_is_wanted_and_works_and_else_software() {
        let trials = [
            trial("h264_nvenc", Some("cannot load libcuda.so.1")),
            trial("h264_qsv", None),
            trial("h264_vaapi", None),
            trial("hevc_nvenc", None),
            trial("vp9_vaapi", Some("made no key frame")),
        ];
        let (h264, hevc, av1, vp9) = (VideoCodec::H264, VideoCodec::Hevc, VideoCodec::Av1, VideoCodec::Vp9);
        for (wanted, codec, engine, why) in [
            (Hardware::Auto, h264, Engine::Qsv, "its trial succeeded"),
            (Hardware::Vaapi, h264, Engine::Vaapi, "its trial succeeded"),
            (Hardware::Nvenc, h264, Engine::Software, "h264_nvenc cannot load libcuda.so.1"),
            (Hardware::Off, h264, Engine::Software, "no device is to be used"),
            (Hardware::Auto, hevc, Engine::Nvenc, "its trial succeeded"),
            (Hardware::Qsv, hevc, Engine::Software, "no device that encodes hevc is there"),
            (Hardware::Auto, av1, Engine::Software, "no device that encodes av1 is there"),
            (Hardware::Auto, vp9, Engine::Software, "vp9_vaapi made no key frame"),
            (Hardware::Nvenc, vp9, Engine::Software, "no device that encodes vp9 is there"),
        ] {
            let choice = choose(wanted, codec, &trials);
            assert_eq!((choice.engine, choice.why.as_str()), (engine, why), "{wanted:?} {codec:?}");
        }
        assert_eq!(choose(Hardware::Auto, h264, &[]).engine, Engine::Software);
    }

    #[test]
    fn every_encoder_is_known_by_its_name() {
        let mut names = Vec::new();
        for engine in Engine::ALL {
            for codec in VideoCodec::ALL {
                let Some(name) = engine.encoder(codec) else { continue };
                assert_eq!(Engine::of(name), Some((engine, codec, name)));
                assert!(!names.contains(&name), "{name} is there twice");
                names.push(name);
            }
        }
        assert_eq!((names.len(), Engine::of("h264_v4l2m2m")), (15, None));
    }
}

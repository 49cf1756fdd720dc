//! A ladder that is changed while it is in use: what an operator says of it, and what it is.

use super::codec::Preset;
use super::named::Rungs;
use super::{Coding, Ladder, RateControl, Raw, RawRung, Rung, usual_name};
use crate::Problem;
use serde::{Deserialize, Serialize};

/// The keys of `[origin.ladder]`. What is left out stays as it is.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct LadderEdit(Raw);

/// A ladder in the words of `[origin.ladder]`, so that what is read can be changed and sent back as a [`LadderEdit`].
#[derive(Serialize)]
#[serde(transparent)]
pub struct LadderWords(Raw);

impl LadderEdit {
    /// What the ladder becomes.
    ///
    /// # Errors
    /// Every key that cannot be, as for a configuration file.
    pub fn apply(self, to: &Ladder) -> Result<Ladder, Vec<Problem>> {
        let mut problems = Vec::new();
        let ladder = self.0.or(&Raw::of(to)).valid("ladder", &mut problems);
        if problems.is_empty() { Ok(Ladder { thumbnails: to.thumbnails.clone(), ..ladder }) } else { Err(problems) }
    }
}

impl From<&Ladder> for LadderWords {
    fn from(ladder: &Ladder) -> Self {
        Self(Raw::of(ladder))
    }
}

impl Raw {
    /// What would be read as this ladder.
    fn of(ladder: &Ladder) -> Self {
        let Ladder { rungs, audio, top_bits_per_pixel, coding, thumbnails: _ } = ladder;
        Self {
            rungs: Some(Rungs::Own(rungs.iter().map(|rung| RawRung::of(rung, coding)).collect())),
            audio_bitrate: Some(audio.bitrate),
            audio_codecs: Some(audio.codecs.clone()),
            audio_channels_max: Some(audio.channels_max),
            top_bits_per_pixel: Some(*top_bits_per_pixel),
            rate_control: Some(if coding.quality.is_some() { RateControl::Quality } else { RateControl::Bitrate }),
            codec: Some(coding.codec),
            quality: coding.quality,
            preset: Some(Preset(coding.preset.clone())),
        }
    }
}

impl RawRung {
    /// What a rung has from its ladder it keeps having from there.
    fn of(rung: &Rung, general: &Coding) -> Self {
        let Rung { name, height, fps_max, bitrate, coding } = rung.clone();
        let is_alike = coding.codec == general.codec;
        let usual = usual_name((height, fps_max, coding.codec));
        Self {
            // So that a rung that gets another codec has the name of that.
            name: Some(name).filter(|name| *name != usual),
            height,
            fps_max,
            bitrate,
            codec: Some(coding.codec).filter(|_| !is_alike),
            quality: coding.quality.filter(|_| !is_alike || coding.quality != general.quality),
            preset: Some(Preset(coding.preset)).filter(|preset| !is_alike || preset.0 != general.preset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn ladder(text: &str) -> Ladder {
        let config = Config::parse(&format!("[origin.ladder]\n{text}\n"), []);
        config.unwrap_or_else(|problems| panic!("{problems:?}")).origin.unwrap().ladder
    }

    fn edited(edit: &str, to: &Ladder) -> Result<Ladder, Vec<Problem>> {
        serde_json::from_str::<LadderEdit>(edit).unwrap().apply(to)
    }

    #[test]
    fn what_is_shown_of_a_ladder_is_that_ladder() {
        for text in [
            "",
            "rungs = \"standard\"\npreset = \"fast\"",
            "rate_control = \"bitrate\"\nrungs = [{ height = 480, bitrate = 900000, fps_max = 30, preset = \"medium\" }]",
            "rungs = [{ name = \"mid\", height = 480, bitrate = 900000, quality = 20 }]\naudio_bitrate = 96000",
            "rungs = []",
            "codec = \"av1\"\naudio_codecs = [\"opus\", \"aac\"]\naudio_channels_max = 2",
            "quality = 25\nrungs = [{ height = 480, bitrate = 900000 }, { height = 480, bitrate = 700000, codec = \"av1\" },
             { height = 480, bitrate = 700000, codec = \"hevc\", quality = 25, preset = \"veryfast\", name = \"b\" }]",
        ] {
            let ladder = ladder(text);
            let words = serde_json::to_string(&LadderWords::from(&ladder)).unwrap();
            assert_eq!(edited(&words, &ladder), Ok(ladder.clone()), "{words}");
            assert_eq!(edited("{}", &ladder), Ok(ladder), "{text}");
        }
    }

    #[test]
    fn an_edit_changes_what_it_says_and_nothing_else() {
        let before = ladder("rungs = [{ height = 480, bitrate = 900000 }]\nquality = 25");
        let after = edited(r#"{"rungs": "mobile"}"#, &before).unwrap();
        assert_eq!((after.rungs.len(), after.coding.quality), (3, Some(25)));
        let after = edited(r#"{"rate_control": "bitrate", "preset": "fast"}"#, &before).unwrap();
        let coding = &after.rungs[0].coding;
        assert_eq!((coding.quality, coding.preset.as_str(), after.rungs[0].bitrate), (None, "fast", 900_000));
        let after = edited(r#"{"codec": "av1"}"#, &before).unwrap();
        let (rung, coding) = (&after.rungs[0], &after.coding);
        assert_eq!((rung.name.as_str(), coding.quality, coding.preset.as_str()), ("480p-av1", Some(35), "10"));
        let problems = edited(r#"{"preset": "swift", "audio_bitrate": 1}"#, &before).unwrap_err();
        let told: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert!(told.contains(&"ladder.preset") && told.contains(&"ladder.audio_bitrate"), "{told:?}");
        assert!(serde_json::from_str::<LadderEdit>(r#"{"rung": []}"#).is_err());
    }
}

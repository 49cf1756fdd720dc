//! What players are told of a plan: names, formats and bit rates. Pure.

use crate::epoch::{Bitrate, Known};
use config::VideoCodec;
use manifest::multivariant::{AudioRendition, MultivariantPlaylist, TrickPlay, Variant};
use media::{TrackConfig, TrackKind};
use transcode::{Encoding, Make, Plan, Rendition};

/// The multivariant playlist of an epoch. `tracks` are the set-ups of the plan's renditions; `known` is of the
/// source. Bit rates are those to expect, before anything was measured.
pub(crate) fn multivariant(plan: &Plan, tracks: &[TrackConfig], known: &Known) -> MultivariantPlaylist {
    let source = known.bitrate;
    let renditions = || plan.renditions.iter().zip(tracks);
    let sounds: Vec<_> = renditions().filter(|(_, track)| track.kind() == TrackKind::Audio).collect();
    let variant = |(rendition, track): (&Rendition, &TrackConfig), sound: Option<&(&Rendition, &TrackConfig)>| {
        let (width, height) = track.size()?;
        let picture = bitrate(&rendition.make, source);
        let heard = sound.map_or(Bitrate { average: 0, peak: 0 }, |(sound, _)| bitrate(&sound.make, source));
        let peak = picture.peak.max(above_what_follows(plan, rendition));
        let mut codecs = vec![track.codec()];
        codecs.extend(sound.map(|(_, track)| track.codec()));
        Some(Variant {
            peak_bitrate: peak + heard.peak,
            average_bitrate: picture.average + heard.average,
            codecs,
            width,
            height,
            frame_rate_hz: rendition.make.rate(plan.rate).hz(),
            audio: sound.map(|(sound, _)| sound.name.clone()),
            uri: uri(&rendition.name),
            trick_play: Some(TrickPlay {
                peak_bitrate: picture.peak,
                codec: track.codec(),
                uri: format!("{}/iframes.m3u8", rendition.name),
            }),
        })
    };
    let mut variants: Vec<_> = renditions().filter_map(|picture| variant(picture, sounds.first())).collect();
    for sound in sounds.iter().skip(1) {
        // Every picture is a variant of its own with each kind of sound; its key frames are told once.
        let others = renditions().filter_map(|picture| variant(picture, Some(sound)));
        variants.extend(others.map(|variant| Variant { trick_play: None, ..variant }));
    }
    MultivariantPlaylist {
        audio: sounds
            .iter()
            .map(|(rendition, track)| AudioRendition {
                group: rendition.name.clone(),
                channels: track.channels().unwrap_or_default(),
                uri: uri(&rendition.name),
            })
            .collect(),
        captions: known.captions.channels(),
        subtitles: Vec::new(),
        images: None,
        key: None,
        variants,
    }
}

/// A source may send less than the rung below it takes, for the moment. Players that sort by bit rate would then take the
/// smaller picture for the better one.
fn above_what_follows(plan: &Plan, rendition: &Rendition) -> u64 {
    if rendition.make != Make::Passthrough {
        return 0;
    }
    let is_alike = |lower: &&Rendition| lower.make.encoding().is_some_and(|lower| lower.codec == VideoCodec::H264);
    let lower = plan.renditions.iter().filter(is_alike);
    lower.map(|lower| bitrate(&lower.make, Bitrate { average: 0, peak: 0 }).peak + GRAIN).max().unwrap_or(0)
}

fn uri(rendition: &str) -> String {
    format!("{rendition}/index.m3u8")
}

/// With what the boxes around the frames add. Rounded up, so that small changes of a source do not show.
pub(super) fn bitrate(make: &Make, source: Bitrate) -> Bitrate {
    let (average, peak) = match make {
        Make::Passthrough => (source.average, source.peak),
        Make::Video(Encoding { bitrate, .. }) | Make::Audio { bitrate, .. } => {
            (u64::from(*bitrate), u64::from(make.peak_bitrate().unwrap_or(*bitrate)))
        }
    };
    let said = |bits: u64| (bits + BOXES).div_ceil(GRAIN) * GRAIN;
    Bitrate { average: said(average), peak: said(peak) }
}

/// A moof of some 200 bytes four times a second, and 16 bytes for each of 60 frames.
const BOXES: u64 = 8 * (4 * 200 + 60 * 16);
const GRAIN: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{aac, aac_config, avc, avc_config, golden, plan, rung};
    use media::Captions;
    use transcode::Source;

    #[test]
    fn a_ladder_is_told_in_the_order_of_the_plan() {
        let mut plan = plan(30, 60, 10);
        plan.renditions.insert(1, Rendition { name: "90p".to_owned(), make: rung(160, 90, 300_000) });
        let tracks = [avc(plan.rate.timescale()), avc(plan.rate.timescale()), aac()];
        let source = Source { video: avc_config(), audio: Some(aac_config()), rate: plan.rate, gop: Some(60) };
        let known = |average, peak| {
            let (source, captions) = (source.clone(), Captions::default());
            Known { source, bitrate: Bitrate { average, peak }, captions }
        };
        golden("multivariant.m3u8", &multivariant(&plan, &tracks, &known(1_000_123, 1_300_000)).render());
        let still = multivariant(&plan, &tracks, &known(30_000, 40_000));
        let peaks: Vec<_> = still.variants.iter().map(|variant| variant.peak_bitrate).collect();
        assert!(peaks.is_sorted_by(|above, below| above > below), "{peaks:?}");
    }
}

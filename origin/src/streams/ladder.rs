//! What players are told of a plan: names, formats and bit rates. Pure.

use crate::epoch::{Bitrate, Known};
use manifest::multivariant::{AudioRendition, MultivariantPlaylist, TrickPlay, Variant};
use media::TrackConfig;
use transcode::{Encoding, Make, Plan};

/// The multivariant playlist of an epoch. `tracks` are the set-ups of the plan's renditions; `known` is of the
/// source. Bit rates are those to expect, before anything was measured.
pub(crate) fn multivariant(plan: &Plan, tracks: &[TrackConfig], known: &Known) -> MultivariantPlaylist {
    let source = known.bitrate;
    let renditions = || plan.renditions.iter().zip(tracks);
    let audio = renditions().find_map(|(rendition, track)| match track {
        TrackConfig::Aac { config } => Some((rendition, config)),
        TrackConfig::Avc { .. } => None,
    });
    let sound = audio.map(|(rendition, _)| bitrate(&rendition.make, source));
    let variant = |(rendition, track): (&transcode::Rendition, &TrackConfig)| {
        let TrackConfig::Avc { config, .. } = track else { return None };
        let picture = bitrate(&rendition.make, source);
        let peak = picture.peak.max(above_what_follows(plan, rendition));
        let mut codecs = vec![track.codec()];
        codecs.extend(audio.map(|(_, config)| config.codec()));
        Some(Variant {
            peak_bitrate: peak + sound.map_or(0, |sound| sound.peak),
            average_bitrate: picture.average + sound.map_or(0, |sound| sound.average),
            codecs,
            width: config.width,
            height: config.height,
            frame_rate_hz: rendition.make.rate(plan.rate).hz(),
            uri: uri(&rendition.name),
            trick_play: Some(TrickPlay {
                peak_bitrate: picture.peak,
                codec: track.codec(),
                uri: format!("{}/iframes.m3u8", rendition.name),
            }),
        })
    };
    MultivariantPlaylist {
        audio: audio.map(|(rendition, config)| AudioRendition {
            name: rendition.name.clone(),
            channels: config.channels,
            uri: uri(&rendition.name),
        }),
        captions: known.captions.channels(),
        subtitles: Vec::new(),
        images: None,
        key: None,
        variants: renditions().filter_map(variant).collect(),
    }
}

/// A source may send less than the rung below it takes, for the moment. Players that sort by bit rate would then take the
/// smaller picture for the better one.
fn above_what_follows(plan: &Plan, rendition: &transcode::Rendition) -> u64 {
    if rendition.make != Make::Passthrough {
        return 0;
    }
    let lower = plan.renditions.iter().filter(|lower| lower.make.encoding().is_some());
    lower.map(|lower| bitrate(&lower.make, Bitrate { average: 0, peak: 0 }).peak + GRAIN).max().unwrap_or(0)
}

fn uri(rendition: &str) -> String {
    format!("{rendition}/index.m3u8")
}

/// With what the boxes around the frames add. Rounded up, so that small changes of a source do not show.
pub(super) fn bitrate(make: &Make, source: Bitrate) -> Bitrate {
    let (average, peak) = match make {
        Make::Passthrough => (source.average, source.peak),
        Make::Video(Encoding { bitrate, .. }) | Make::Audio { bitrate } => {
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
    use transcode::{Rendition, Source};

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

//! Tables of sources and the plans they must get.

use super::*;
use bytes::Bytes;
use config::{Audio, AudioCodec, Coding, Rung, VideoCodec};

/// The head of a configuration record: High profile.
const HIGH: &[u8] = &[1, 100, 0, 31];

fn source(rate: (u32, u32), gop: Option<u32>) -> Source {
    Source {
        video: AvcConfig { record: Bytes::from_static(HIGH), width: 1280, height: 720 },
        audio: Some(AacConfig { record: Bytes::new(), sample_rate: 48_000, channels: 2 }),
        rate: FrameRate::new(rate.0, rate.1).unwrap(),
        gop,
    }
}

fn sized(width: u32, height: u32) -> Source {
    let mut source = source((30, 1), None);
    source.video = AvcConfig { width, height, ..source.video };
    source
}

fn segmenting(segment_ms: u64, part_ms: u64) -> Segmenting {
    Segmenting {
        segment: Duration::from_millis(segment_ms),
        part: Duration::from_millis(part_ms),
        analysis_max: Duration::from_secs(4),
    }
}

fn coding() -> Coding {
    Coding { codec: VideoCodec::H264, quality: Some(23), preset: "veryfast".to_owned() }
}

/// A rung by its height, frames per second at most, and bit rate.
fn rung(height: u32, fps_max: Option<u32>, bitrate: u32) -> Rung {
    let name = format!("{height}p{}", fps_max.map(|fps| fps.to_string()).unwrap_or_default());
    Rung { name, height, fps_max, bitrate, coding: coding() }
}

fn ladder(heights: &[u32]) -> Ladder {
    Ladder {
        rungs: heights.iter().map(|&height| rung(height, None, height * 2000)).collect(),
        audio: Audio { bitrate: 128_000, codecs: vec![AudioCodec::Aac], channels_max: 6 },
        top_bits_per_pixel: 0.1,
        coding: coding(),
        thumbnails: Some(config::Thumbnails { height: 90, columns: 2, rows: 1, quantizer: 6 }),
    }
}

type Size = (u32, u32);

/// Of a top rendition that is encoded.
fn top_size(plan: &Plan) -> Option<Size> {
    plan.renditions[0].make.encoding().map(|video| (video.width, video.height))
}

fn plan_of(source: &Source) -> Plan {
    plan(source, &segmenting(2000, 267), &ladder(&[480, 360]))
}

#[test]
fn parts_of_every_profile_are_long_enough_for_their_target() {
    // RFC 8216bis, 4.4.4.9: at least 85 % of it, sound as well as picture.
    for part_ms in [200, 267, 533] {
        for rate in [(24, 1), (24000, 1001), (25, 1), (30_000, 1001), (30, 1), (50, 1), (60_000, 1001), (60, 1)] {
            let seconds = |count: f64| Some((f64::from(rate.0) / f64::from(rate.1) * count).round() as u32);
            for gop in [None, seconds(1.0), seconds(2.0)] {
                let plan = plan(&source(rate, gop), &segmenting(2000, part_ms), &ladder(&[480]));
                let shortest = shortest_part((plan.rate, &[1024]), plan.part_frames);
                let share = shortest.as_secs_f64() / plan.part_target.as_secs_f64();
                assert!(
                    share >= 0.85,
                    "{part_ms} ms at {rate:?}, GOP of {gop:?}: {share}, {} frames",
                    plan.part_frames
                );
            }
        }
    }
}

#[test]
fn picture_and_sound_end_together_in_standard_parts() {
    for (fps, frames) in [(30, 16), (60, 32)] {
        let plan = plan(&source((fps, 1), None), &segmenting(2000, 533), &ladder(&[480]));
        assert_eq!((plan.part_frames, plan.segment_frames), (frames, 4 * frames));
        let (samples, unit) = samples_of_part((plan.rate, 1024), frames);
        assert_eq!((samples % unit, plan.part_target.as_millis()), (0, 534));
    }
}

#[test]
fn segments_follow_the_gop_where_it_allows_it() {
    // Rate, GOP, frames per segment, frames per part, PART-TARGET in ms.
    let table = [
        ((30, 1), 60, 60, 10, 342),
        ((30, 1), 30, 60, 10, 342),
        ((30, 1), 64, 64, 8, 278),
        ((30, 1), 1, 60, 10, 342),
        ((30, 1), 48, 48, 8, 278),
        ((30, 1), 33, 66, 6, 214),
        ((30, 1), 45, 45, 9, 320),
        ((25, 1), 50, 50, 5, 214),
        ((25, 1), 48, 48, 6, 256),
        ((50, 1), 100, 100, 10, 214),
        ((60, 1), 120, 120, 15, 256),
        ((60, 1), 128, 128, 16, 278),
        ((24, 1), 48, 48, 6, 256),
        ((30000, 1001), 60, 60, 10, 342),
        ((60000, 1001), 120, 120, 15, 256),
    ];
    for (rate, gop, segment, part, target_ms) in table {
        let plan = plan_of(&source(rate, Some(gop)));
        let got = (plan.segment_frames, plan.part_frames, plan.part_target.as_millis());
        assert_eq!(got, (segment, part, target_ms), "{rate:?} with GOP {gop}");
        assert_eq!(plan.renditions[0].make, Make::Passthrough, "{rate:?} with GOP {gop}");
        assert_eq!(plan.segment_frames % gop, 0);
    }
}

#[test]
fn a_source_without_a_usable_gop_is_cut_on_a_grid_that_suits_aac() {
    let table = [
        ((30, 1), None, 64, 8, 278),
        ((60, 1), None, 128, 16, 278),
        ((25, 1), None, 48, 8, 320),
        ((50, 1), None, 96, 16, 320),
        ((24, 1), None, 48, 6, 256),
        ((30000, 1001), None, 56, 8, 278),
        // Twice the target is too long, and a prime number of frames has no parts.
        ((30, 1), Some(250), 64, 8, 278),
        ((30, 1), Some(61), 64, 8, 278),
        ((30, 1), Some(0), 64, 8, 278),
    ];
    for (rate, gop, segment, part, target_ms) in table {
        let plan = plan_of(&source(rate, gop));
        let got = (plan.segment_frames, plan.part_frames, plan.part_target.as_millis());
        assert_eq!(got, (segment, part, target_ms), "{rate:?} with GOP {gop:?}");
        assert_eq!(top_size(&plan), Some((1280, 720)), "{rate:?} with GOP {gop:?}");
    }
}

#[test]
fn pictures_that_few_can_decode_are_not_passed_through() {
    // High 10, High 4:2:2, High 4:4:4 Predictive.
    for profile in [110, 122, 244] {
        let mut source = source((30, 1), Some(60));
        source.video.record = vec![1, profile, 0, 31].into();
        let plan = plan_of(&source);
        assert_eq!(top_size(&plan), Some((1280, 720)), "{profile}");
    }
}

#[test]
fn a_target_that_is_an_exact_grid_is_kept() {
    let exact = plan(&source((30, 1), None), &segmenting(2133, 533), &ladder(&[]));
    assert_eq!((exact.segment_frames, exact.part_frames), (64, 16));
    assert_eq!(exact.part_target, Duration::from_millis(534), "16 frames are 25 access units, 533.33 ms");
}

#[test]
fn no_part_is_longer_than_the_target_and_none_but_the_last_is_much_shorter() {
    for rate in FrameRate::STANDARD {
        for gop in (1..=300).map(Some).chain([None]) {
            let mut source = source((30, 1), gop);
            source.rate = rate;
            let plan = plan_of(&source);
            assert_eq!(plan.segment_frames % plan.part_frames, 0);
            let target = plan.part_target.as_secs_f64();
            let video = f64::from(plan.part_frames) / rate.hz();
            // The n-th part ends at sample n * video; its units are those that start before that.
            let start_of = |n: u32| (f64::from(n) * video * 48000.0 / 1024.0 - 1e-9).ceil();
            for n in 0..plan.segment_frames {
                let audio = (start_of(n + 1) - start_of(n)) * 1024.0 / 48000.0;
                assert!(video.max(audio) <= target, "{rate:?} {gop:?}: {video} or {audio} above {target}");
                // RFC 8216bis, 4.4.3.7: at least 85 % of the target, but for the last of a segment.
                assert!(video.min(audio) >= 0.85 * target, "{rate:?} {gop:?}: {video} or {audio} under {target}");
            }
        }
    }
}

#[test]
fn rungs_keep_the_aspect_and_stay_below_the_source() {
    // Source size, then the encoded sizes below the top.
    let table: [(Size, &[Size]); 7] = [
        ((1280, 720), &[(854, 480), (640, 360)]),
        ((1920, 1080), &[(854, 480), (640, 360)]),
        ((640, 480), &[(480, 360)]),
        ((640, 360), &[]),
        ((720, 1280), &[(270, 480), (202, 360)]),
        ((100, 1000), &[(48, 480), (36, 360)]),
        ((2, 4320), &[(2, 480), (2, 360)]),
    ];
    for ((width, height), rungs) in table {
        let plan = plan_of(&sized(width, height));
        let sizes: Vec<_> = plan.renditions[1..]
            .iter()
            .filter_map(|rendition| rendition.make.encoding().map(|video| (video.width, video.height)))
            .collect();
        assert_eq!(sizes, rungs, "{width}x{height}");
        assert!(sizes.iter().all(|(width, height)| width % 2 == 0 && height % 2 == 0));
        assert_eq!(plan.renditions[0].name, format!("{height}p"));
    }
}

#[test]
fn an_encoded_top_of_odd_size_keeps_the_name_of_the_source() {
    let plan = plan_of(&sized(1281, 721));
    assert_eq!(plan.renditions[0].name, "721p");
    let top = plan.renditions[0].make.encoding().unwrap();
    assert_eq!((top.width, top.height, top.bitrate), (1280, 720, 2_770_803));
}

#[test]
fn audio_is_last_and_absent_without_a_source() {
    let with = plan_of(&source((30, 1), Some(60)));
    let names: Vec<_> = with.renditions.iter().map(|rendition| rendition.name.as_str()).collect();
    assert_eq!(names, ["720p", "480p", "360p", "audio"]);

    let mut silent = source((30, 1), Some(60));
    silent.audio = None;
    let without = plan_of(&silent);
    assert_eq!(without.renditions.len(), 3);
    assert_eq!(without.part_target, Duration::from_millis(334), "10 frames at 30 fps, rounded up");
}

#[test]
fn only_work_needs_a_worker() {
    let mut silent = source((30, 1), Some(60));
    silent.audio = None;
    assert!(!plan(&silent, &segmenting(2000, 267), &ladder(&[])).needs_worker());
    assert!(plan_of(&silent).needs_worker());
    silent.gop = None;
    assert!(plan(&silent, &segmenting(2000, 267), &ladder(&[])).needs_worker());
}

#[test]
fn peaks_stay_in_a_quarter_above_the_target() {
    let plan = plan_of(&source((30, 1), Some(60)));
    let make = Make::Video(Encoding { bitrate: 800_000, ..plan.renditions[1].make.encoding().unwrap().clone() });
    assert_eq!(make.peak_bitrate(), Some(1_000_000));
    assert_eq!(Make::Passthrough.peak_bitrate(), None);
}

/// A name, kbit/s (0 where the source decides), frames per second.
type Told = (&'static str, u32, f64);
/// The source's size, rate and GOP; what it gets.
type Case = (Size, (u32, u32), Option<u32>, &'static [Told]);

fn told(plan: &Plan) -> Vec<(String, u32, f64)> {
    let of = |rendition: &Rendition| {
        let bitrate = rendition.make.encoding().map_or(0, |video| video.bitrate / 1000);
        (rendition.name.clone(), bitrate, rendition.make.rate(plan.rate).hz())
    };
    plan.renditions.iter().filter(|rendition| rendition.name != "audio").map(of).collect()
}

#[test]
fn a_source_gets_the_rungs_that_are_not_above_it_at_rates_that_it_has() {
    let standard = Ladder {
        rungs: vec![rung(1080, Some(60), 6_000_000), rung(1080, Some(30), 4_500_000), rung(720, None, 3_000_000)],
        ..ladder(&[])
    };
    let encoded = None;
    let passed = Some(60);
    let table: [Case; 8] = [
        ((1920, 1080), (60, 1), Some(120), &[("1080p", 0, 60.0), ("1080p30", 4500, 30.0), ("720p", 3000, 60.0)]),
        ((1920, 1080), (60, 1), encoded, &[("1080p", 6000, 60.0), ("1080p30", 4500, 30.0), ("720p", 3000, 60.0)]),
        // Both limits are above the source: its own rung is the one with fewer bits.
        ((1920, 1080), (30, 1), passed, &[("1080p", 0, 30.0), ("720p", 3000, 30.0)]),
        ((1920, 1080), (30, 1), encoded, &[("1080p", 4500, 30.0), ("720p", 3000, 30.0)]),
        ((2560, 1440), (25, 1), Some(50), &[("1440p", 0, 25.0), ("1080p30", 4500, 25.0), ("720p", 3000, 25.0)]),
        (
            (2560, 1440),
            (50, 1),
            Some(100),
            &[("1440p", 0, 50.0), ("1080p60", 6000, 50.0), ("1080p30", 4500, 25.0), ("720p", 3000, 50.0)],
        ),
        ((1280, 720), (30, 1), encoded, &[("720p", 3000, 30.0)]),
        ((1280, 720), (120, 1), Some(240), &[("720p", 0, 120.0)]),
    ];
    for (size, rate, gop, expected) in table {
        let source = Source { rate: FrameRate::new(rate.0, rate.1).unwrap(), gop, ..sized(size.0, size.1) };
        let plan = plan(&source, &segmenting(2000, 267), &standard);
        let expected: Vec<_> = expected.iter().map(|&(name, bits, hz)| (name.to_owned(), bits, hz)).collect();
        assert_eq!(told(&plan), expected, "{size:?} at {rate:?}");
        for make in plan.renditions.iter().map(|rendition| &rendition.make) {
            assert!(plan.part_frames.is_multiple_of(make.every()), "a part has whole pictures of every rung");
        }
    }
}

#[test]
fn rungs_of_other_codecs_stand_beside_those_of_the_same_size() {
    let rung = |height, codec: VideoCodec, bitrate| {
        let coding = Coding { codec, ..coding() };
        Rung { name: format!("{height}p-{}", codec.name()), coding, ..rung(height, None, bitrate) }
    };
    let (h264, av1) = (VideoCodec::H264, VideoCodec::Av1);
    let mixed = Ladder {
        rungs: vec![
            rung(720, h264, 3_000_000),
            rung(720, av1, 2_000_000),
            rung(360, av1, 500_000),
            rung(360, h264, 800_000),
        ],
        ..ladder(&[])
    };
    let only_av1 = Ladder { coding: Coding { codec: av1, ..coding() }, ..mixed.clone() };
    let below = [("720p-av1", 2000), ("360p-av1", 500), ("360p-h264", 800)];
    for (gop, ladder, top, below) in [
        // Passed through: the source is its own rung of H.264.
        (Some(60), &mixed, ("720p", 0), &below),
        // Encoded: the rung of the ladder's own codec is the top.
        (None, &mixed, ("720p", 3000), &below),
        (None, &only_av1, ("720p", 2000), &[("720p-h264", 3000), ("360p-av1", 500), ("360p-h264", 800)]),
    ] {
        let plan = plan(&source((30, 1), gop), &segmenting(2000, 267), ladder);
        let got: Vec<_> = told(&plan).into_iter().map(|(name, kilobits, _)| (name, kilobits)).collect();
        let expected = [&[top], &below[..]].concat();
        assert_eq!(got, expected.iter().map(|&(name, bits)| (name.to_owned(), bits)).collect::<Vec<_>>(), "{gop:?}");
    }
}

#[test]
fn sound_has_the_channels_of_the_source_in_every_codec_that_is_wanted() {
    // The configuration, the most channels, what is made: channels, bits per second. AAC-LC 44.1 kHz mono; 48 kHz stereo;
    // 5.1; HE-AAC 24/48 kHz stereo; HE-AAC v2 24/48 kHz, which is coded as mono.
    for (record, channels_max, expected) in [
        (&[0x12, 0x08][..], 6, (1, 128_000)),
        (&[0x11, 0x90], 6, (2, 128_000)),
        (&[0x11, 0x90], 1, (1, 128_000)),
        (&[0x11, 0xb0], 6, (6, 320_000)),
        (&[0x11, 0xb0], 2, (2, 128_000)),
        (&[0x2b, 0x11, 0x88, 0x00], 6, (2, 128_000)),
        (&[0xeb, 0x09, 0x88, 0x00], 6, (2, 128_000)),
    ] {
        let audio = Some(AacConfig::parse(record.to_vec().into()).unwrap());
        let wanted = Audio { bitrate: 128_000, codecs: vec![AudioCodec::Aac, AudioCodec::Opus], channels_max };
        let source = Source { audio, ..source((30, 1), Some(60)) };
        let plan = plan(&source, &segmenting(2000, 267), &Ladder { audio: wanted, ..ladder(&[]) });
        let sound: Vec<_> =
            plan.renditions[1..].iter().map(|sound| (sound.name.as_str(), sound.make.clone())).collect();
        let make = |codec| Make::Audio { codec, bitrate: expected.1, channels: expected.0 };
        assert_eq!(sound, [("audio", make(AudioCodec::Aac)), ("audio-opus", make(AudioCodec::Opus))], "{record:x?}");
    }
}

#[test]
fn parts_of_sound_in_packets_of_20_ms_fit_their_target() {
    let audio = Audio { codecs: vec![AudioCodec::Aac, AudioCodec::Opus], ..ladder(&[]).audio };
    let ladder = Ladder { audio, ..ladder(&[480]) };
    for (rate, gop) in
        [((30, 1), Some(60)), ((30, 1), None), ((25, 1), None), ((60, 1), Some(120)), ((30000, 1001), None)]
    {
        let plan = plan(&source(rate, gop), &segmenting(2000, 267), &ladder);
        let (samples, packet) = samples_of_part((plan.rate, 960), plan.part_frames);
        assert!(access_units(samples.div_ceil(packet), 960) <= plan.part_target, "{rate:?}");
        let shortest = shortest_part((plan.rate, &[1024, 960]), plan.part_frames);
        assert!(shortest >= plan.part_target.mul_f64(0.85), "{rate:?}: {shortest:?} of {:?}", plan.part_target);
        let again = plan_after(&plan, &source(rate, gop), &segmenting(2000, 267), &ladder);
        assert_eq!((again.segment_frames, again.part_frames), (plan.segment_frames, plan.part_frames), "{rate:?}");
    }
}

#[test]
fn a_rung_named_like_the_source_leaves_the_name_to_the_rung() {
    let rungs = vec![Rung { name: "720p".to_owned(), ..rung(540, None, 1_000_000) }];
    let plan = plan(&source((30, 1), Some(60)), &segmenting(2000, 267), &Ladder { rungs, ..ladder(&[]) });
    assert_eq!(told(&plan).iter().map(|told| told.0.as_str()).collect::<Vec<_>>(), ["source", "720p"]);
}

/// What a plan says of itself: frames per second, of a segment and of a part, seconds, milliseconds, passed through.
type Cut = (f64, u32, u32, u64, u128, bool);

fn cut(plan: &Plan) -> Cut {
    let passed = plan.renditions[0].make == Make::Passthrough;
    let (segment, part) = (plan.segment_frames, plan.part_frames);
    (plan.rate.hz(), segment, part, plan.target_duration_s, plan.part_target.as_millis(), passed)
}

#[test]
fn what_players_were_told_stays_true_whatever_comes_back() {
    let silent = |source: Source| Source { audio: None, ..source };
    let table: [(Source, Source, Cut); 11] = [
        // The same, and another GOP that suits what was told.
        (source((30, 1), Some(60)), source((30, 1), Some(60)), (30.0, 60, 10, 2, 342, true)),
        (source((30, 1), Some(60)), source((30, 1), Some(45)), (30.0, 45, 9, 2, 342, true)),
        // A longer GOP, or none: encoded on the grid there was.
        (source((30, 1), Some(60)), source((30, 1), Some(120)), (30.0, 60, 10, 2, 342, false)),
        (source((30, 1), Some(60)), source((30, 1), None), (30.0, 60, 10, 2, 342, false)),
        // Parts of a fifth of a second are too short for a target of 0.342 s: encoded.
        (source((30, 1), Some(60)), source((25, 1), Some(50)), (25.0, 48, 8, 2, 342, false)),
        // The nearest parts would be too long, others are not.
        (source((25, 1), Some(50)), source((30, 1), Some(60)), (30.0, 60, 6, 2, 214, true)),
        (source((25, 1), Some(50)), source((30, 1), None), (30.0, 60, 6, 2, 214, false)),
        (source((30, 1), Some(60)), source((60, 1), Some(120)), (60.0, 120, 20, 2, 342, true)),
        // Sound joins: its access units must fit as well.
        (silent(source((30, 1), Some(60))), source((30, 1), Some(60)), (30.0, 63, 9, 2, 334, false)),
        // One frame is longer than a part: only the old rate keeps the promise.
        (source((30, 1), Some(60)), source((2, 1), Some(4)), (30.0, 60, 10, 2, 342, false)),
        (source((2, 1), Some(4)), source((30, 1), Some(60)), (30.0, 60, 15, 2, 512, true)),
    ];
    for (first, then, expected) in table {
        let before = plan_of(&first);
        let after = plan_after(&before, &then, &segmenting(2000, 267), &ladder(&[480, 360]));
        assert_eq!(cut(&after), expected, "{:?} {:?} after {:?} {:?}", then.rate, then.gop, first.rate, first.gop);
    }
}

#[test]
fn no_plan_breaks_what_was_told_before() {
    let rates = [(24, 1), (25, 1), (30000, 1001), (30, 1), (50, 1), (60, 1), (15, 1), (25, 2), (5, 1), (120, 1)];
    let gops = [None, Some(1), Some(24), Some(45), Some(60), Some(100), Some(250)];
    let sources = || rates.iter().flat_map(|&rate| gops.map(|gop| source(rate, gop)));
    for before in sources().map(|source| plan_of(&source)) {
        for then in sources() {
            let after = plan_after(&before, &then, &segmenting(2000, 267), &ladder(&[]));
            assert_eq!(after.target_duration_s, before.target_duration_s);
            assert_eq!(after.part_target, before.part_target);
            assert!(after.segment_frames.is_multiple_of(after.part_frames), "{then:?}");
            assert!(target_duration_s(after.rate, after.segment_frames) <= before.target_duration_s, "{then:?}");
            assert!(part_target((after.rate, &[1024]), after.part_frames) <= before.part_target, "{then:?}");
        }
    }
}

#[test]
fn the_top_keeps_its_name_unless_a_rung_has_it() {
    // Heights of the source before and after, then the names.
    let table: [(u32, u32, &[&str]); 5] = [
        (720, 720, &["720p", "480p", "360p", "audio"]),
        (720, 1080, &["720p", "480p", "360p", "audio"]),
        (1080, 720, &["1080p", "480p", "360p", "audio"]),
        (480, 1080, &["1080p", "480p", "360p", "audio"]),
        (720, 240, &["720p", "audio"]),
    ];
    for (before, after, names) in table {
        let [before, after] = [before, after].map(|height| sized(height * 16 / 9, height));
        let plan = plan_after(&plan_of(&before), &after, &segmenting(2000, 267), &ladder(&[480, 360]));
        let got: Vec<_> = plan.renditions.iter().map(|rendition| rendition.name.as_str()).collect();
        assert_eq!(got, names);
        let again = plan_after(&plan, &after, &segmenting(2000, 267), &ladder(&[480, 360]));
        assert_eq!(again.renditions, plan.renditions, "and keeps it");
    }
}

#[test]
fn rungs_too_narrow_for_their_encoder_are_left_out() {
    let coded = |codec| Rung { name: format!("{codec:?}"), coding: Coding { codec, ..coding() }, ..rung(360, None, 1) };
    let rungs = VideoCodec::ALL.map(coded).to_vec();
    for (width, expected) in [(128, 1 + 4), (16, 1 + 1)] {
        let ladder = Ladder { rungs: rungs.clone(), ..ladder(&[]) };
        let plan = plan(&Source { audio: None, ..sized(width, 720) }, &segmenting(2000, 267), &ladder);
        assert_eq!(plan.renditions.len(), expected, "of pictures {width} wide");
    }
}

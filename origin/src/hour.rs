//! An hour of a publisher, from its time stamps to the segments that players fetch, as FFmpeg reads them: none lost, none moved.

use crate::epoch::{Cutter, EpochId, Known, Placer};
use crate::medium::Medium;
use crate::segmenter::{Grid, Part};
use crate::slate::Slate;
use crate::store::crc;
use crate::testing::aac;
use crate::window::{EpochStart, Lookup, Memory, Name, Shape, Window};
use bytes::Bytes;
use manifest::Position;
use media::{Frame, FrameRate, Timescale, TrackKind};
use mp4_atom::{Decode, Mdat, Moof, Prft};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use transcode::{Make, Plan};

const ZERO_MS: i64 = 1_795_226_400_500;
const FIRST_MSN: u64 = 100;
const HOUR_S: i64 = 3600;
const GOP: u32 = 60;
/// Samples of an access unit.
const UNIT: i64 = transcode::ACCESS_UNIT_SAMPLES as i64;
const HZ: i64 = transcode::AUDIO_RATE as i64;

/// An encoder that sends a few coded GOPs over and over, with the time stamps of one that never ends.
struct Publisher {
    known: Known,
    pictures: Vec<Frame>,
    sounds: Vec<Bytes>,
}

impl Publisher {
    /// `rate` as FFmpeg reads it, and how many pictures in a row are reordered.
    fn of(rate: &str, reordered: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.flv");
        let picture = format!("testsrc2=size=64x36:rate={rate}:duration=8");
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", &picture]);
        ffmpeg.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=8"]);
        ffmpeg.args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", &GOP.to_string()]);
        ffmpeg.args(["-sc_threshold", "0", "-b_strategy", "0", "-bf", reordered]);
        ffmpeg.args(["-c:a", "aac", "-b:a", "96k", "-ac", "2", "-f", "flv"]).arg(&path);
        assert!(ffmpeg.status().expect("the tests need Debian's ffmpeg").success());
        let slate = Slate::load(&path).unwrap();
        let frames = || slate.repeated().take(slate.frames());
        Self {
            pictures: frames().filter(|frame| frame.kind == TrackKind::Video).collect(),
            sounds: frames().filter(|frame| frame.kind == TrackKind::Audio).map(|frame| frame.data).collect(),
            known: slate.known,
        }
    }

    fn rate(&self) -> FrameRate {
        self.known.source.rate
    }

    /// When a picture comes in whole milliseconds, as RTMP has it: 33, 67, 100.
    fn stamp(&self, index: i64) -> i64 {
        self.rate().ticks_of_index(index, Timescale::MILLISECONDS)
    }

    /// How many pictures later than it is decoded a coded picture is shown.
    fn delay(&self, coded: &Frame) -> i64 {
        self.rate().index_of_ms(coded.pts - coded.dts)
    }

    fn picture(&self, index: i64) -> Frame {
        let coded = &self.pictures[index as usize % self.pictures.len()];
        Frame { dts: self.stamp(index), pts: self.stamp(index + self.delay(coded)), ..coded.clone() }
    }

    /// An access unit; the first comes with the picture that is shown first.
    fn sound(&self, index: i64) -> Frame {
        let begin_ms = self.stamp(self.delay(&self.pictures[0]));
        let ms = begin_ms + (2000 * index * UNIT + HZ).div_euclid(2 * HZ);
        let data = self.sounds[index as usize % self.sounds.len()].clone();
        Frame { kind: TrackKind::Audio, dts: ms, pts: ms, keyframe: true, data }
    }
}

/// What players get of a rendition: its init section and all segments, one after the other.
struct Served {
    window: Window,
    file: File,
    /// Of the open segment, as they came.
    parts: Vec<Bytes>,
    sequence: u32,
    now: Instant,
}

impl Served {
    fn new(plan: &Plan, init: Bytes, path: &Path) -> Self {
        let shape = Shape::of(plan, Medium::Fragments, (Duration::ZERO, Duration::ZERO));
        let memory = Memory::new(usize::MAX, prometheus::IntCounter::new("shortened", "in tests").unwrap());
        let (mut window, now) = (Window::new(shape, memory), Instant::now());
        let mut file = File::create(path).unwrap();
        file.write_all(&init).unwrap();
        let start = EpochStart {
            id: EpochId(1),
            discontinuities: 0,
            first_msn: FIRST_MSN,
            joined_msn: FIRST_MSN,
            zero_unix_ms: ZERO_MS,
            segment_s: Grid::new(plan).segment_s(),
            init,
            tiles: None,
            told: None,
        };
        window.begin(start, now);
        Self { window, file, parts: Vec::new(), sequence: 0, now }
    }

    fn part(&mut self, part: Part) {
        self.now += Duration::from_secs_f64(part.duration_s);
        let (at, ends_segment) = (part.at, part.ends_segment);
        self.sequence += 1;
        assert_eq!(sequence(&part.bytes), self.sequence, "{at}");
        assert!(self.window.push(part, self.now), "{at} is out of turn");
        let Lookup::Found(bytes) = self.window.lookup(EpochId(1), Name::Part(at)) else { panic!("no part {at}") };
        self.parts.push(bytes.concat().into());
        if ends_segment {
            self.segment(at);
        }
    }

    fn segment(&mut self, at: Position) {
        let Lookup::Found(bytes) = self.window.lookup(EpochId(1), Name::Segment(at.msn)) else { panic!("no {at}") };
        let bytes = bytes.concat();
        assert_eq!(bytes, self.parts.concat(), "segment {} is another than its parts", at.msn);
        self.parts.clear();
        self.file.write_all(&bytes).unwrap();
    }

    fn end(mut self) {
        let open = self.window.head().next;
        self.window.break_off(self.now);
        if open.part > 0 {
            self.segment(open);
        }
    }
}

/// The number of the one fragment that a part is.
fn sequence(mut part: &[u8]) -> u32 {
    Prft::decode(&mut part).unwrap();
    let moof = Moof::decode(&mut part).unwrap();
    Mdat::decode(&mut part).unwrap();
    assert!(part.is_empty());
    moof.mfhd.sequence_number
}

/// A packet as FFmpeg reads it, in ticks.
struct Packet {
    pts: i64,
    dts: i64,
    duration: i64,
    crc: u32,
}

/// All packets of a file that counts in `scale`, and that FFmpeg has nothing to say against.
fn read(path: &Path, scale: Timescale) -> Vec<Packet> {
    let show = ["-v", "warning", "-of", "csv", "-show_data_hash", "CRC32", "-show_entries"];
    let of = "stream=time_base:packet=pts,dts,duration,data_hash";
    let told = Command::new("ffprobe").args(show).arg(of).arg(path).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&told.stderr), "");
    let mut packets = Vec::new();
    for line in std::str::from_utf8(&told.stdout).unwrap().lines() {
        let fields: Vec<_> = line.split(',').collect();
        match fields[..] {
            ["packet", pts, dts, duration, hash, ..] => {
                let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{line}"));
                // FFmpeg tells no duration of the first AAC packet of any file.
                let is_first_of_sound = packets.is_empty() && duration == "N/A";
                let duration = if is_first_of_sound { UNIT } else { number(duration) };
                let crc = u32::from_str_radix(hash.trim_start_matches("CRC32:"), 16).unwrap();
                packets.push(Packet { pts: number(pts), dts: number(dts), duration, crc });
            }
            ["stream", time_base, ..] => assert_eq!(time_base, format!("1/{}", scale.0)),
            _ => panic!("{line}"),
        }
    }
    packets
}

/// No packet is lost, none comes twice, and none is another than was sent.
fn assert_all<'a>(packets: &[Packet], count: i64, sent: impl Iterator<Item = &'a Bytes>) {
    assert_eq!(packets.len() as i64, count);
    let sent: Vec<_> = sent.map(|data| crc(data)).collect();
    for (index, (packet, sent)) in packets.iter().zip(sent.iter().cycle()).enumerate() {
        assert_eq!(packet.crc, *sent, "packet {index}");
    }
}

/// Each begins where the one before it ends; the end of the last.
fn assert_contiguous(begin: i64, spans: impl Iterator<Item = (i64, i64)>) -> i64 {
    spans.enumerate().fold(begin, |end, (index, (at, duration))| {
        assert_eq!(at, end, "packet {index}");
        at + duration
    })
}

/// How many pictures and access units a publisher sent in its hour.
struct Sent {
    pictures: i64,
    sounds: i64,
}

/// Sends an hour of both through the origin's rules; what players fetch of either goes to a file of its own.
fn serve(publisher: &Publisher, paths: &[PathBuf; 2]) -> Sent {
    let Known { source, .. } = &publisher.known;
    let origin = config::Config::parse("[origin]\n", []).unwrap().origin.unwrap();
    let plan = transcode::plan(source, &origin.segment, &origin.ladder);
    let makes: Vec<_> = plan.renditions.iter().map(|rendition| &rendition.make).collect();
    assert!(matches!(makes[..], [Make::Passthrough, Make::Audio { .. }]), "{makes:?}");

    let mut cutter = Cutter::new(&publisher.known, &plan, (FIRST_MSN, ZERO_MS, 0), None).unwrap();
    cutter.track(1, aac()).unwrap();
    let inits = cutter.opened().unwrap().into_iter();
    let mut served: Vec<_> = inits.zip(paths).map(|((_, init), path)| Served::new(&plan, init, path)).collect();

    let (rate, delay) = (plan.rate, publisher.delay(&publisher.pictures[0]));
    let mut placer = Placer::new(rate, source.gop, (publisher.stamp(delay), 0));
    // Whole GOPs, so that no picture is left out that is shown before the last one.
    let pictures = (HOUR_S * i64::from(rate.num()) / i64::from(rate.den() * GOP) + 1) * i64::from(GOP);
    let mut sounds = 0;
    for index in 0..pictures {
        let placed = placer.place(&publisher.picture(index)).unwrap().unwrap();
        assert_eq!(placed.dts, (index - delay) * i64::from(rate.frame_ticks()), "picture {index}");
        let mut made = cutter.source(placed).unwrap();
        while sounds * UNIT * i64::from(rate.num()) < (index + 1) * HZ * i64::from(rate.den()) {
            let placed = placer.place(&publisher.sound(sounds)).unwrap().unwrap();
            let start = sounds * UNIT;
            assert!((placed.pts - start).abs() < HZ / 1000, "unit {sounds} is put at {}", placed.pts);
            // The worker encodes what it hears in units that count on without a break.
            made.extend(cutter.frame(1, Frame { dts: start, pts: start, ..placed }).unwrap());
            sounds += 1;
        }
        made.into_iter().for_each(|(rendition, part)| served[rendition].part(part));
    }
    cutter.flush().into_iter().for_each(|(rendition, part)| served[rendition].part(part));
    served.into_iter().for_each(Served::end);
    Sent { pictures, sounds }
}

fn see_and_hear(publisher: &Publisher, rate: FrameRate) {
    assert_eq!((publisher.rate(), publisher.known.source.gop), (rate, Some(GOP)));
    let folder = tempfile::tempdir().unwrap();
    let paths = ["picture.mp4", "sound.mp4"].map(|name| folder.path().join(name));
    let sent = serve(publisher, &paths);

    let (scale, packets) = (rate.timescale(), read(&paths[0], rate.timescale()));
    assert_all(&packets, sent.pictures, publisher.pictures.iter().map(|frame| &frame.data));
    let zero = scale.ticks_of_ms(ZERO_MS);
    let decode_begin = zero - publisher.delay(&publisher.pictures[0]) * i64::from(rate.frame_ticks());
    assert_contiguous(decode_begin, packets.iter().map(|packet| (packet.dts, packet.duration)));
    let mut shown: Vec<_> = packets.iter().map(|packet| (packet.pts, packet.duration)).collect();
    shown.sort_unstable();
    let seen_s = scale.seconds(assert_contiguous(zero, shown.into_iter()) - zero);

    let scale = Timescale(transcode::AUDIO_RATE);
    let packets = read(&paths[1], scale);
    assert_all(&packets, sent.sounds, publisher.sounds.iter());
    assert!(packets.iter().all(|packet| packet.pts == packet.dts));
    let zero = scale.ticks_of_ms(ZERO_MS);
    let heard = assert_contiguous(zero, packets.iter().map(|packet| (packet.dts, packet.duration)));
    let apart_s = scale.seconds(heard - zero) - seen_s;
    println!("{} pictures end at {seen_s:.6} s, {} units of sound {apart_s:.6} s later", sent.pictures, sent.sounds);
    assert!(seen_s >= HOUR_S as f64);
    // The last unit begins before the last picture ends.
    assert!((0.0..scale.seconds(UNIT)).contains(&apart_s), "{apart_s} s");
}

#[test]
fn ffmpeg_reads_an_hour_of_30_pictures_a_second() {
    see_and_hear(&Publisher::of("30", "0"), FrameRate::new(30, 1).unwrap());
}

#[test]
fn ffmpeg_reads_an_hour_of_reordered_pictures_at_29_97_a_second() {
    see_and_hear(&Publisher::of("30000/1001", "2"), FrameRate::new(30_000, 1001).unwrap());
}

//! What a stream shows while its publisher is away: the pictures and the sound of a file, over and over. Pure but for the
//! one read.

use crate::epoch::{Analysis, Known, Patience};
use crate::ingest::Ingested;
use crate::store::regular;
use bytes::Bytes;
use media::flv::file::{NoFlv, TagKind, Tags};
use media::flv::{AudioTag, FlvError, VideoTag, VideoTags};
use media::{AacConfig, AvcConfig, Frame, Timescale, TrackKind};
use std::io::{self, Read};
use std::path::Path;

/// A file that can be a slate, as a publisher would send it.
#[derive(Clone, Debug)]
pub(crate) struct Slate {
    /// With its sound; learnt as that of any publisher.
    pub(crate) known: Known,
    /// Of one turn, in the file's order: times count milliseconds from its first key frame.
    frames: Vec<Frame>,
    /// Pictures of one turn: a whole number of GOPs, if these are regular.
    pictures: i64,
}

/// Why a file cannot be a slate.
#[derive(Debug, thiserror::Error)]
pub enum SlateError {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is longer than 64 MiB, which are held in memory; make a shorter file, for it is repeated")]
    TooLong,
    #[error(transparent)]
    NoFlv(#[from] NoFlv),
    #[error(transparent)]
    Media(#[from] FlvError),
    #[error("changes its codec set-up on the way; make it in one run of ffmpeg")]
    Changes,
    #[error("has no H.264 key frame; make it with ffmpeg -c:v libx264 -g 60")]
    NoKeyFrame,
    #[error("has no AAC sound; make it with ffmpeg -f lavfi -i anullsrc -c:a aac")]
    NoSound,
    #[error("is shorter than a second; make it with ffmpeg -t 10")]
    TooShort,
}

/// All of it is held in memory.
const BYTES_MAX: u64 = 64 << 20;
const LENGTH_MIN_MS: i64 = 1000;
/// Of the slate, to learn how often its key frames come: longer than any distance that can be cut into segments.
const LEARNT_MS: i64 = 10_000;

impl Slate {
    /// # Errors
    /// The file cannot be read, or is none that a stream can go on with.
    pub(crate) fn load(path: &Path) -> Result<Self, SlateError> {
        let mut bytes = Vec::new();
        // A pipe would be waited for.
        regular::named(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(SlateError::TooLong);
        }
        Self::read(bytes.into())
    }

    /// Takes the bytes of a file.
    pub(crate) fn read(file: Bytes) -> Result<Self, SlateError> {
        let (video, audio, mut frames) = read(file)?;
        let is_key = |frame: &Frame| frame.kind == TrackKind::Video && frame.keyframe;
        let first = frames.iter().find(|frame| is_key(frame)).map(|frame| frame.dts).ok_or(SlateError::NoKeyFrame)?;
        let (video, audio) = (video.ok_or(SlateError::NoKeyFrame)?, audio.ok_or(SlateError::NoSound)?);
        let begun = frames.iter().position(is_key).unwrap_or(0);
        // Sound may be written before the pictures it belongs to.
        let is_in =
            |(at, frame): &(usize, Frame)| frame.dts >= first && (*at >= begun || frame.kind == TrackKind::Audio);
        frames = frames.into_iter().enumerate().filter(is_in).map(|(_, frame)| frame).collect();
        for frame in &mut frames {
            (frame.dts, frame.pts) = (frame.dts - first, frame.pts - first);
        }
        let keys: Vec<bool> =
            frames.iter().filter(|frame| frame.kind == TrackKind::Video).map(|frame| frame.keyframe).collect();
        let pictures = whole_gops(&keys);
        let mut taken = 0;
        frames.retain(|frame| {
            taken += usize::from(frame.kind == TrackKind::Video);
            frame.kind == TrackKind::Audio || taken <= pictures
        });
        let pictures = pictures as i64;
        let known = learn((video, audio), &frames, pictures)?;
        let length_ms = known.source.rate.ticks_of_index(pictures, Timescale::MILLISECONDS);
        if length_ms < LENGTH_MIN_MS {
            return Err(SlateError::TooShort);
        }
        frames.retain(|frame| frame.dts < length_ms);
        Ok(Self { known, frames, pictures })
    }

    /// How many frames one turn has.
    pub(crate) fn frames(&self) -> usize {
        self.frames.len()
    }

    /// What a publisher would send that repeats it for ever: each frame, and when it is due, in milliseconds from the first.
    pub(crate) fn repeated(&self) -> impl Iterator<Item = Frame> {
        let rate = self.known.source.rate;
        (0_i64..).flat_map(move |turn| {
            let since_ms = rate.ticks_of_index(turn * self.pictures, Timescale::MILLISECONDS);
            self.frames.iter().map(move |frame| Frame {
                dts: frame.dts + since_ms,
                pts: frame.pts + since_ms,
                ..frame.clone()
            })
        })
    }
}

/// Says whether a file can be a slate.
///
/// # Errors
/// As [`Slate::load`].
pub fn check_slate(path: &Path) -> Result<(), SlateError> {
    Slate::load(path).map(drop)
}

type Media = (Option<AvcConfig>, Option<AacConfig>, Vec<Frame>);

fn read(file: Bytes) -> Result<Media, SlateError> {
    let (mut video, mut audio, mut frames) = (None, None, Vec::new());
    let mut tags = VideoTags::default();
    for tag in Tags::of(file)? {
        let dts = i64::from(tag.timestamp_ms);
        match tag.kind {
            TagKind::Video => match tags.read(tag.payload)? {
                VideoTag::Config(config) if video.as_ref().is_some_and(|known| *known != config) => {
                    return Err(SlateError::Changes);
                }
                VideoTag::Config(config) => video = Some(config),
                VideoTag::Frame { keyframe, composition_ms, data } => {
                    let pts = dts + i64::from(composition_ms.max(0));
                    frames.push(Frame { kind: TrackKind::Video, dts, pts, keyframe, data });
                }
                VideoTag::End | VideoTag::Ignored => {}
            },
            TagKind::Audio => match AudioTag::parse(tag.payload)? {
                AudioTag::Config(config) if audio.as_ref().is_some_and(|known| *known != config) => {
                    return Err(SlateError::Changes);
                }
                AudioTag::Config(config) => audio = Some(config),
                AudioTag::Frame(data) => {
                    frames.push(Frame { kind: TrackKind::Audio, dts, pts: dts, keyframe: true, data });
                }
                AudioTag::Ignored => {}
            },
            TagKind::Other => {}
        }
    }
    Ok((video, audio, frames))
}

/// How many pictures one turn has: all, or if key frames come regularly, as many whole GOPs as there are.
fn whole_gops(keys: &[bool]) -> usize {
    let at: Vec<usize> = keys.iter().enumerate().filter_map(|(index, &key)| key.then_some(index)).collect();
    let Some(gop) = at.get(1).copied() else { return keys.len() };
    let is_regular = at.windows(2).all(|pair| pair[1] - pair[0] == gop);
    if is_regular { keys.len() / gop * gop } else { keys.len() }
}

/// Looks at several turns, so that the distance of key frames is that of those which are sent.
fn learn((video, audio): (AvcConfig, AacConfig), frames: &[Frame], pictures: i64) -> Result<Known, SlateError> {
    let (first, last) = (frames.iter(), frames.iter().rev());
    let is_picture = |frame: &&Frame| frame.kind == TrackKind::Video;
    let span_ms = last.clone().find(is_picture).map_or(0, |last| last.dts);
    // As long as if one more picture came at the distance of the others.
    let turn_ms = (span_ms * pictures).checked_div(pictures - 1).unwrap_or(0);
    if turn_ms < LENGTH_MIN_MS {
        return Err(SlateError::TooShort);
    }
    let mut analysis = Analysis::new(Patience { ms: LEARNT_MS, bytes: usize::MAX });
    analysis.push(Ingested::Video(video), 0);
    analysis.push(Ingested::Audio(audio), 0);
    for turn in 0..=LEARNT_MS / turn_ms + 1 {
        for frame in first.clone() {
            let since_ms = turn * turn_ms;
            let frame = Frame { dts: frame.dts + since_ms, pts: frame.pts + since_ms, ..frame.clone() };
            if let Some(found) = analysis.push(Ingested::Frame(frame), 0) {
                return Ok(found.known);
            }
        }
    }
    analysis.decide().map(|found| found.known).ok_or(SlateError::NoKeyFrame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_of_whole_gops() {
        let keys = |at: &[usize], count: usize| (0..count).map(|index| at.contains(&index)).collect::<Vec<_>>();
        assert_eq!(whole_gops(&keys(&[0], 75)), 75);
        assert_eq!(whole_gops(&keys(&[0, 30, 60], 75)), 60);
        assert_eq!(whole_gops(&keys(&[0, 30, 60], 90)), 90);
        assert_eq!(whole_gops(&keys(&[0, 30, 65], 75)), 75);
    }

    #[test]
    fn what_cannot_be_a_slate_is_told() {
        let header = b"FLV\x01\x05\0\0\0\x09\0\0\0\0";
        assert!(matches!(Slate::read(Bytes::from_static(b"no file")), Err(SlateError::NoFlv(_))));
        assert!(matches!(Slate::read(Bytes::from_static(header)), Err(SlateError::NoKeyFrame)));
        assert!(matches!(Slate::load(Path::new("/nowhere")), Err(SlateError::Io(_))));
    }

    #[test]
    fn a_pipe_is_no_slate_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("slate.flv");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (read, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || read.send(Slate::load(&pipe).map(drop)));
        let refused = told.recv_timeout(std::time::Duration::from_secs(10)).expect("it is waited for");
        assert!(matches!(refused, Err(SlateError::Io(_))));
    }
}

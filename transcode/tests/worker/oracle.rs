//! What FFmpeg's own program makes of a rendition.

use crate::run::Collected;
use media::fmp4::{Sample, fragment, init};
use media::{Frame, FrameRate, TrackConfig, TrackKind};
use std::process::Command;

/// The rendition as CMAF, one fragment per segment.
fn file(collected: &Collected, rate: FrameRate) -> Vec<u8> {
    let track = collected.track.as_ref().unwrap();
    let mut file = init(track).unwrap().to_vec();
    let starts = collected.frames.iter().enumerate().filter(|(_, frame)| frame.keyframe).map(|(index, _)| index);
    let mut bounds: Vec<_> = starts.chain([collected.frames.len()]).collect();
    if track.kind() == TrackKind::Audio {
        bounds.retain(|bound| bound % 100 == 0 || *bound == collected.frames.len());
    }
    for (sequence, pair) in bounds.windows(2).enumerate() {
        let frames = &collected.frames[pair[0]..pair[1]];
        let samples: Vec<_> = frames.iter().map(|frame| sample(frame, track, rate)).collect();
        file.extend_from_slice(&fragment(sequence as u32 + 1, frames[0].dts as u64, None, &samples).unwrap());
    }
    file
}

/// The shape of its pixels, as FFmpeg reads it from the file: `16:11`.
pub(crate) fn aspect(collected: &Collected, rate: FrameRate) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rendition.mp4");
    std::fs::write(&path, file(collected, rate)).unwrap();
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "stream=sample_aspect_ratio", "-of", "csv=p=0"])
        .arg(&path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Decodes all of a rendition. Fails on the least complaint.
/// Gives the raw decoded bytes: 4:2:0 pictures, or 32-bit float samples with interleaved channels.
pub(crate) fn decode(collected: &Collected, rate: FrameRate) -> Vec<u8> {
    let track = collected.track.as_ref().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rendition.mp4");
    std::fs::write(&path, file(collected, rate)).unwrap();
    let raw: &[&str] = match track.kind() {
        TrackKind::Video => &["-fps_mode", "passthrough", "-f", "rawvideo"],
        TrackKind::Audio => &["-f", "f32le"],
    };
    let output = Command::new("ffmpeg")
        .args(["-v", "warning", "-nostdin", "-xerror", "-i"])
        .arg(&path)
        .args(raw)
        .arg("-")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "ffmpeg complains");
    assert!(output.status.success());
    output.stdout
}

/// One channel of decoded audio.
pub(crate) fn channel(raw: &[u8], channels: usize) -> Vec<f32> {
    let samples = raw.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    samples.step_by(channels).collect()
}

fn sample(frame: &Frame, track: &TrackConfig, rate: FrameRate) -> Sample {
    let duration = track.unit_samples().unwrap_or_else(|| rate.frame_ticks());
    Sample { duration, composition_offset: 0, keyframe: frame.keyframe, data: frame.data.clone() }
}

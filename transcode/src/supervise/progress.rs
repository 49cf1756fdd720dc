//! Whether a worker keeps up: what it was fed, what it made of it, and how long that took.

use crate::Plan;
use media::{Frame, TrackKind};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, interval};

/// Shared by the feeding and the reading side of one worker.
#[derive(Debug)]
pub(super) struct Progress {
    /// Hanging is judged by video if the worker makes any, else by audio.
    watched: TrackKind,
    state: Mutex<State>,
    overrun: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// When recent video frames were fed, by presentation time.
    fed: VecDeque<(i64, Instant)>,
    /// Frames of the watched kind since the last one made.
    unanswered: u32,
    finishing: bool,
    made: u64,
}

impl Progress {
    pub(super) fn new(plan: &Plan) -> Self {
        let video = plan.renditions.iter().any(|rendition| rendition.make.encoding().is_some());
        let watched = if video { TrackKind::Video } else { TrackKind::Audio };
        Self { watched, state: Mutex::default(), overrun: Notify::new() }
    }

    pub(super) fn fed_video(&self, pts: i64) {
        let mut state = self.state();
        if state.fed.len() == FED_REMEMBERED {
            state.fed.pop_front();
        }
        state.fed.push_back((pts, Instant::now()));
        if self.watched == TrackKind::Video {
            state.unanswered = state.unanswered.saturating_add(1);
        }
    }

    pub(super) fn fed_audio(&self) {
        if self.watched == TrackKind::Audio {
            let mut state = self.state();
            state.unanswered = state.unanswered.saturating_add(1);
        }
    }

    pub(super) fn finishing(&self) {
        self.state().finishing = true;
    }

    pub(super) fn is_finishing(&self) -> bool {
        self.state().finishing
    }

    pub(super) fn overrun(&self) {
        self.overrun.notify_one();
    }

    pub(super) async fn overran(&self) {
        self.overrun.notified().await;
    }

    /// Notes a frame that came back; for a picture, how long ago its source was fed.
    pub(super) fn made(&self, frame: &Frame) -> Option<Duration> {
        let mut state = self.state();
        if frame.kind == self.watched {
            state.unanswered = 0;
            state.made += 1;
        }
        if frame.kind == TrackKind::Audio {
            return None;
        }
        let fed = state.fed.iter().rev().find(|(pts, _)| *pts == frame.pts)?.1;
        Some(fed.elapsed())
    }

    /// Returns when frames, or the wish to finish, have gone unanswered for `limit`.
    pub(super) async fn hung(&self, limit: Duration) {
        let mut ticks = interval((limit / 8).max(Duration::from_millis(1)));
        let (mut made, mut quiet_since) = (0, Instant::now());
        loop {
            let now = ticks.tick().await;
            let state = self.state();
            let waiting = state.finishing || state.unanswered > REORDER_MAX;
            if state.made != made || !waiting {
                (made, quiet_since) = (state.made, now);
            } else if now.duration_since(quiet_since) >= limit {
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state stays whole whatever a holder does: every change is a plain assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A decoder may hold so many pictures back to put them in order (H.264, A.3.1: MaxDpbFrames is at most 16).
const REORDER_MAX: u32 = 16;
/// More than any queue and encoder hold; a picture older than that is so late that its lag tells nothing new.
const FED_REMEMBERED: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Encoding, Make, Rendition};
    use bytes::Bytes;
    use config::{AudioCodec, VideoCodec};
    use media::FrameRate;

    const LIMIT: Duration = Duration::from_secs(4);

    fn progress(make: Make) -> Progress {
        Progress::new(&Plan {
            rate: FrameRate::new(30, 1).unwrap(),
            segment_frames: 60,
            part_frames: 10,
            target_duration_s: 2,
            part_target: Duration::from_millis(334),
            renditions: vec![Rendition { name: "x".to_owned(), make }],
            thumbnails: None,
        })
    }

    fn video() -> Progress {
        progress(Make::Video(Encoding {
            codec: VideoCodec::H264,
            width: 2,
            height: 2,
            every: 1,
            bitrate: 1,
            quality: None,
            preset: String::new(),
        }))
    }

    fn frame(kind: TrackKind, pts: i64) -> Frame {
        Frame { kind, dts: pts, pts, keyframe: false, data: Bytes::new() }
    }

    async fn hangs_within(progress: &Progress, time: Duration) -> bool {
        tokio::time::timeout(time, progress.hung(LIMIT)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_is_not_fed_is_not_hung() {
        let progress = video();
        assert!(!hangs_within(&progress, LIMIT * 10).await);
        for pts in 0..i64::from(REORDER_MAX) {
            progress.fed_video(pts);
        }
        assert!(!hangs_within(&progress, LIMIT * 10).await, "a decoder may hold these back");
        progress.fed_video(i64::from(REORDER_MAX));
        assert!(hangs_within(&progress, LIMIT * 2).await);
    }

    #[tokio::test(start_paused = true)]
    async fn audio_does_not_hide_that_video_hangs() {
        let progress = video();
        (0..100).for_each(|pts| progress.fed_video(pts));
        progress.made(&frame(TrackKind::Audio, 0));
        assert!(hangs_within(&progress, LIMIT * 2).await);

        let audio = progress_of_audio();
        (0..100).for_each(|_| audio.fed_audio());
        assert!(hangs_within(&audio, LIMIT * 2).await);
        audio.made(&frame(TrackKind::Audio, 0));
        assert!(!hangs_within(&audio, LIMIT * 2).await);
    }

    fn progress_of_audio() -> Progress {
        progress(Make::Audio { codec: AudioCodec::Aac, bitrate: 1, channels: 2 })
    }

    #[tokio::test(start_paused = true)]
    async fn finishing_must_come_to_an_end() {
        let progress = video();
        progress.finishing();
        assert!(hangs_within(&progress, LIMIT * 2).await);
    }

    #[tokio::test(start_paused = true)]
    async fn lag_counts_from_feeding_to_the_picture() {
        let progress = video();
        progress.fed_video(1000);
        progress.fed_video(2000);
        tokio::time::advance(Duration::from_millis(70)).await;
        assert_eq!(progress.made(&frame(TrackKind::Video, 1000)), Some(Duration::from_millis(70)));
        assert_eq!(progress.made(&frame(TrackKind::Video, 1000)), Some(Duration::from_millis(70)), "every rung");
        assert_eq!(progress.made(&frame(TrackKind::Video, 3000)), None, "a repeated picture was never fed");
        assert_eq!(progress.made(&frame(TrackKind::Audio, 2000)), None);
    }
}

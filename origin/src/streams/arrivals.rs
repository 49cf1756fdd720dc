//! When the frames of a source came, to tell how long a part took from then on.

use media::{Frame, TrackKind};
use std::collections::VecDeque;
use std::time::Instant;

/// Frames of some ten seconds; what is older than that is not a delay any more but a stall.
const REMEMBERED: usize = 600;

#[derive(Debug, Default)]
pub(super) struct Arrivals {
    video: VecDeque<Arrival>,
    audio: VecDeque<Arrival>,
}

/// A frame ended at so many seconds after the epoch's zero. Frames that were held before the epoch began have no time:
/// their delay is that of the analysis.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    end_s: f64,
    at: Option<Instant>,
}

impl Arrivals {
    /// `end_s` counts from the epoch's zero.
    pub(super) fn note(&mut self, frame: &Frame, end_s: f64, at: Option<Instant>) {
        let arrivals = self.of_mut(frame.kind);
        if arrivals.len() == REMEMBERED {
            arrivals.pop_front();
        }
        arrivals.push_back(Arrival { end_s, at });
    }

    /// When the last frame came that a part needs which ends at `end_s`. A rounded millisecond does not count.
    pub(super) fn complete(&self, kind: TrackKind, end_s: f64) -> Option<Instant> {
        let arrivals = match kind {
            TrackKind::Video => &self.video,
            TrackKind::Audio => &self.audio,
        };
        arrivals.iter().find(|arrival| arrival.end_s >= end_s - 0.002)?.at
    }

    fn of_mut(&mut self, kind: TrackKind) -> &mut VecDeque<Arrival> {
        match kind {
            TrackKind::Video => &mut self.video,
            TrackKind::Audio => &mut self.audio,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::time::Duration;

    #[test]
    fn the_frame_that_completes_a_part_is_found() {
        let frame = Frame { kind: TrackKind::Video, dts: 0, pts: 0, keyframe: false, data: Bytes::new() };
        let (mut arrivals, start) = (Arrivals::default(), Instant::now());
        arrivals.note(&frame, 0.1, None);
        for tenth in 2..5_u32 {
            arrivals.note(&frame, f64::from(tenth) / 10.0, Some(start + Duration::from_secs(tenth.into())));
        }
        assert_eq!(arrivals.complete(TrackKind::Video, 0.1), None);
        assert_eq!(arrivals.complete(TrackKind::Video, 0.3), Some(start + Duration::from_secs(3)));
        assert_eq!(arrivals.complete(TrackKind::Video, 0.5), None);
        assert_eq!(arrivals.complete(TrackKind::Audio, 0.3), None);
    }
}

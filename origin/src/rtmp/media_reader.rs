//! Audio and video messages of one publisher as ingest items, on a clock that does not wrap.

use crate::Ingested;
use crate::rtmp::chunk::Message;
use media::flv::{AudioTag, FlvError, VideoTag, VideoTags};
use media::{AacConfig, AvcConfig, Frame, TrackKind};

/// The set-up that holds for the next frames.
#[derive(Debug, Default)]
pub(super) struct MediaReader {
    clock: Clock,
    tags: VideoTags,
    video: Option<AvcConfig>,
    audio: Option<AacConfig>,
}

impl MediaReader {
    /// `None` for tags without a frame and for a set-up that holds already: some encoders repeat it with each key frame.
    pub(super) fn video(&mut self, message: &Message) -> Result<Option<Ingested>, FlvError> {
        Ok(match self.tags.read(message.payload.clone())? {
            VideoTag::Config(config) if self.video.as_ref() == Some(&config) => None,
            VideoTag::Config(config) => {
                self.video = Some(config.clone());
                Some(Ingested::Video(config))
            }
            VideoTag::Frame { keyframe, composition_ms, data } => {
                let dts = self.clock.unroll(message.timestamp);
                // A picture shown before it is decoded is a fault of the encoder's clock.
                let pts = dts + i64::from(composition_ms.max(0));
                Some(Ingested::Frame(Frame { kind: TrackKind::Video, dts, pts, keyframe, data }))
            }
            VideoTag::End | VideoTag::Ignored => None,
        })
    }

    /// When a message that is no frame was sent, on the clock of the frames.
    pub(super) fn time(&mut self, message: &Message) -> i64 {
        self.clock.unroll(message.timestamp)
    }

    /// As [`MediaReader::video`].
    pub(super) fn audio(&mut self, message: &Message) -> Result<Option<Ingested>, FlvError> {
        Ok(match AudioTag::parse(message.payload.clone())? {
            AudioTag::Config(config) if self.audio.as_ref() == Some(&config) => None,
            AudioTag::Config(config) => {
                self.audio = Some(config.clone());
                Some(Ingested::Audio(config))
            }
            AudioTag::Frame(_) if self.audio.is_none() => return Err(FlvError::NoSequenceHeader),
            AudioTag::Frame(data) => {
                let dts = self.clock.unroll(message.timestamp);
                Some(Ingested::Frame(Frame { kind: TrackKind::Audio, dts, pts: dts, keyframe: true, data }))
            }
            AudioTag::Ignored => None,
        })
    }
}

/// Turns RTMP's milliseconds modulo 2^32 (49.7 days) into a line: each time is the one nearest to the last.
#[derive(Debug, Default)]
struct Clock {
    last: Option<i64>,
}

impl Clock {
    fn unroll(&mut self, timestamp: u32) -> i64 {
        let time = match self.last {
            Some(last) => last + i64::from(timestamp.wrapping_sub(last as u32) as i32),
            None => i64::from(timestamp),
        };
        self.last = Some(time);
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_where_the_field_wraps() {
        let mut clock = Clock::default();
        let times: Vec<_> = [u32::MAX - 33, u32::MAX, 33, 20, 66].map(|time| clock.unroll(time)).into();
        let end = i64::from(u32::MAX);
        assert_eq!(times, [end - 33, end, end + 34, end + 21, end + 67]);
    }

    #[test]
    fn time_may_go_back_a_little_past_zero() {
        let mut clock = Clock::default();
        assert_eq!([10, u32::MAX, 10].map(|time| clock.unroll(time)), [10, -1, 10]);
    }
}

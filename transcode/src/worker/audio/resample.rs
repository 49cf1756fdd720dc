//! One line of samples at 48 kHz, in one, two or six channels, from decoded audio of any rate and layout.

use super::super::{WorkError, ffi};
use super::timeline::STRETCH_OVER;
use crate::AUDIO_RATE;
use ffmpeg_next::ChannelLayout;
use ffmpeg_next::format::Sample;
use ffmpeg_next::format::sample::Type;
use ffmpeg_next::frame::Audio;
use ffmpeg_next::software::resampling::Context;

const FORMAT: Sample = Sample::F32(Type::Planar);

/// Samples that wait to be encoded, and the count of all there ever were.
pub(super) struct Line {
    layout: ChannelLayout,
    resampler: Option<Context>,
    /// One for each channel, all of one length.
    channels: Vec<Vec<f32>>,
    written: i64,
}

/// In the order in which encoders want the channels.
pub(super) fn layout(channels: u16) -> ChannelLayout {
    match channels {
        1 => ChannelLayout::MONO,
        2 => ChannelLayout::STEREO,
        _ => ChannelLayout::_5POINT1_BACK,
    }
}

/// How many samples decoded audio becomes.
pub(super) fn length(decoded: &Audio) -> i64 {
    decoded.samples() as i64 * i64::from(AUDIO_RATE) / i64::from(decoded.rate().max(1))
}

impl Line {
    pub(super) fn new(channels: u16) -> Self {
        Self {
            layout: layout(channels),
            resampler: None,
            channels: vec![Vec::new(); usize::from(channels)],
            written: 0,
        }
    }

    /// Where the next sample goes: what was written, and what the resampler still holds.
    pub(super) fn end(&self) -> i64 {
        self.written + self.resampler.as_ref().and_then(Context::delay).map_or(0, |delay| delay.output)
    }

    /// Appends decoded audio without its first `skip` samples.
    pub(super) fn append(&mut self, decoded: &Audio, skip: i64) -> Result<(), WorkError> {
        if skip > 0 {
            self.finish()?;
        }
        let resampler = self.resampler(decoded)?;
        let held = resampler.delay().map_or(0, |delay| delay.output);
        let room = (length(decoded) + held) as usize + SPARE;
        let mut out = Audio::new(FORMAT, room, self.layout);
        let resampler = self.resampler(decoded)?;
        resampler.run(decoded, &mut out).map_err(failed)?;
        self.write(&out, skip as usize);
        Ok(())
    }

    /// Ends what was appended: what the resampler holds belongs before what comes next.
    pub(super) fn finish(&mut self) -> Result<(), WorkError> {
        let Some(mut resampler) = self.resampler.take() else { return Ok(()) };
        let held = resampler.delay().map_or(0, |delay| delay.output);
        if held > 0 {
            let mut out = Audio::new(FORMAT, held as usize + SPARE, self.layout);
            resampler.flush(&mut out).map_err(failed)?;
            out.set_samples(out.samples().min(held as usize));
            self.write(&out, 0);
        }
        Ok(())
    }

    /// Spreads so many samples, more or fewer, over the next [`STRETCH_OVER`].
    pub(super) fn stretch(&mut self, by: i64) -> Result<(), WorkError> {
        match &mut self.resampler {
            Some(resampler) => ffi::stretch(resampler, by as i32, STRETCH_OVER as i32).map_err(failed),
            None => Ok(()),
        }
    }

    pub(super) fn silence(&mut self, samples: i64) -> Result<(), WorkError> {
        if samples <= 0 {
            return Ok(());
        }
        let end = self.end() + samples;
        self.finish()?;
        let missing = (end - self.written).max(0);
        for channel in &mut self.channels {
            channel.resize(channel.len() + missing as usize, 0.0);
        }
        self.written += missing;
        Ok(())
    }

    /// The `count` samples from `begin` as a frame for an encoder, once there are so many. Before zero there is silence.
    pub(super) fn unit(&self, begin: i64, count: usize, format: Sample) -> Option<Audio> {
        let first = self.written - self.channels[0].len() as i64;
        if begin + count as i64 > self.written {
            return None;
        }
        let mut unit = Audio::new(format, count, self.layout);
        unit.set_rate(AUDIO_RATE);
        unit.set_pts(Some(begin));
        let silent = (first - begin).clamp(0, count as i64) as usize;
        let from = (begin - first).max(0) as usize;
        for (index, channel) in self.channels.iter().enumerate() {
            let sound = &channel[from..from + count - silent];
            if format.is_planar() {
                let plane = unit.plane_mut::<f32>(index);
                plane[..silent].fill(0.0);
                plane[silent..].copy_from_slice(sound);
            } else {
                let places = ffi::samples_mut(&mut unit).iter_mut().skip(index).step_by(self.channels.len());
                let silence = std::iter::repeat_n(&0.0, silent);
                places.zip(silence.chain(sound)).for_each(|(place, sample)| *place = *sample);
            }
        }
        Some(unit)
    }

    /// What lies before `position` is needed no more.
    pub(super) fn forget(&mut self, position: i64) {
        let first = self.written - self.channels[0].len() as i64;
        let gone = (position - first).clamp(0, self.channels[0].len() as i64) as usize;
        self.channels.iter_mut().for_each(|channel| drop(channel.drain(..gone)));
    }

    /// Silence up to this position.
    pub(super) fn pad(&mut self, position: i64) -> Result<(), WorkError> {
        self.silence(position - self.written)
    }

    /// Samples that there are, but for what the resampler holds.
    pub(super) fn written(&self) -> i64 {
        self.written
    }

    fn write(&mut self, audio: &Audio, skip: usize) {
        let samples = audio.samples();
        let skip = skip.min(samples);
        for (index, channel) in self.channels.iter_mut().enumerate() {
            channel.extend_from_slice(&audio.plane(index)[skip..samples]);
        }
        self.written += (samples - skip) as i64;
    }

    /// The resampler for audio like this; the source may change its form without notice.
    fn resampler(&mut self, decoded: &Audio) -> Result<&mut Context, WorkError> {
        let layout = match decoded.channel_layout() {
            layout if layout.is_empty() => ChannelLayout::default(i32::from(decoded.channels())),
            layout => layout,
        };
        let fits = |context: &Context| {
            let input = context.input();
            (input.format, input.channel_layout, input.rate) == (decoded.format(), layout, decoded.rate())
        };
        if !self.resampler.as_ref().is_some_and(fits) {
            self.finish()?;
        }
        match &mut self.resampler {
            Some(resampler) => Ok(resampler),
            none => {
                let new = Context::get(decoded.format(), layout, decoded.rate(), FORMAT, self.layout, AUDIO_RATE);
                Ok(none.insert(new.map_err(failed)?))
            }
        }
    }
}

fn failed(source: ffmpeg_next::Error) -> WorkError {
    WorkError::Codec { what: "resample audio", source }
}

/// Room for rounding in the resampler's own count of what it holds.
const SPARE: usize = 64;

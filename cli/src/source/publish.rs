//! One connection to an origin: encodes pictures and sound, and sends them as FLV over RTMP with FFmpeg's own client.

use super::canvas::Canvas;
use super::tone;
use anyhow::Context as _;
use ffmpeg_next::codec::{self, Context};
use ffmpeg_next::format::sample::Type;
use ffmpeg_next::format::{Pixel, Sample, context};
use ffmpeg_next::{ChannelLayout, Dictionary, Packet, Rational, color, encoder, format, frame, picture};

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) fps: u32,
    /// Bits per second of video.
    pub(crate) bitrate: usize,
}

impl Form {
    /// Two seconds.
    pub(crate) fn gop(&self) -> u64 {
        u64::from(self.fps) * 2
    }
}

pub(crate) struct Session {
    form: Form,
    output: context::Output,
    video: encoder::video::Encoder,
    audio: encoder::audio::Encoder,
    pixels: frame::Video,
    /// Wall clock of the first frame, in samples since the Unix epoch.
    zero: u64,
    /// Samples made since then.
    sounded: u64,
}

const VIDEO: usize = 0;
const AUDIO: usize = 1;

impl Session {
    /// Connects to an `rtmp://` URL, or opens a file.
    pub(crate) fn open(url: &str, form: Form) -> anyhow::Result<Self> {
        let (video, audio) = (open_video(form)?, open_audio()?);
        let mut options = Dictionary::new();
        if url.starts_with("rtmp") {
            options.set("tcp_nodelay", "1");
            // An origin that accepts and then says nothing; in microseconds.
            options.set("rw_timeout", "5000000");
        }
        let mut output =
            format::output_as_with(url, "flv", options).with_context(|| format!("cannot publish to {url}"))?;
        let mut stream = output.add_stream_with(&video)?;
        stream.set_avg_frame_rate((form.fps as i32, 1));
        output.add_stream_with(&audio)?;
        let header = Dictionary::from_iter([("flush_packets", "1"), ("flvflags", "no_duration_filesize")]);
        output.write_header_with(header)?;
        let mut pixels = frame::Video::new(Pixel::YUV420P, form.width, form.height);
        pixels.set_color_space(color::Space::BT709);
        Ok(Self { form, output, video, audio, pixels, zero: 0, sounded: 0 })
    }

    /// Says when the first frame is: beeps follow the wall clock.
    pub(crate) fn start(&mut self, unix_ms: u64) {
        self.zero = unix_ms * u64::from(tone::RATE) / 1000;
    }

    /// Sends one picture, and the sound up to the picture after it.
    pub(crate) fn send(&mut self, index: u64, canvas: &Canvas) -> anyhow::Result<()> {
        self.load(canvas);
        self.pixels.set_pts(Some(index as i64));
        let key = index.is_multiple_of(self.form.gop());
        self.pixels.set_kind(if key { picture::Type::I } else { picture::Type::None });
        self.video.send_frame(&self.pixels)?;
        self.write_video()?;
        let until = (index + 1) * u64::from(tone::RATE) / u64::from(self.form.fps);
        while self.sounded < until {
            let sound = self.next_sound();
            self.audio.send_frame(&sound)?;
            self.write_audio()?;
        }
        Ok(())
    }

    /// Sends what is still held, and the end.
    pub(crate) fn close(mut self) -> anyhow::Result<()> {
        self.video.send_eof()?;
        self.write_video()?;
        self.audio.send_eof()?;
        self.write_audio()?;
        Ok(self.output.write_trailer()?)
    }

    fn load(&mut self, canvas: &Canvas) {
        for plane in 0..3 {
            let stride = self.pixels.stride(plane);
            let lines = self.pixels.data_mut(plane).chunks_exact_mut(stride);
            for (line, row) in lines.zip(canvas.plane(plane)) {
                line[..row.len()].copy_from_slice(row);
            }
        }
    }

    fn next_sound(&mut self) -> frame::Audio {
        let unit = self.audio.frame_size() as usize;
        let mut sound = frame::Audio::new(Sample::F32(Type::Planar), unit, ChannelLayout::STEREO);
        sound.set_rate(tone::RATE);
        sound.set_pts(Some(self.sounded as i64));
        for channel in 0..2 {
            let samples = sound.plane_mut::<f32>(channel).iter_mut();
            for (sample, position) in samples.zip(self.zero + self.sounded..) {
                *sample = tone::sample(position);
            }
        }
        self.sounded += unit as u64;
        sound
    }

    fn write_video(&mut self) -> anyhow::Result<()> {
        let mut packet = Packet::empty();
        while self.video.receive_packet(&mut packet).is_ok() {
            write(&mut self.output, &mut packet, VIDEO, Rational::new(1, self.form.fps as i32))?;
        }
        Ok(())
    }

    fn write_audio(&mut self) -> anyhow::Result<()> {
        let mut packet = Packet::empty();
        while self.audio.receive_packet(&mut packet).is_ok() {
            // The encoder starts with a unit of silence before zero, which would shift all of FLV's times.
            if packet.pts().is_some_and(|pts| pts >= 0) {
                write(&mut self.output, &mut packet, AUDIO, Rational::new(1, tone::RATE as i32))?;
            }
        }
        Ok(())
    }
}

/// At once: interleaving by time would hold each picture back until the sound after it.
fn write(output: &mut context::Output, packet: &mut Packet, stream: usize, from: Rational) -> anyhow::Result<()> {
    let time_base = output.stream(stream).map_or_else(|| Rational::new(1, 1000), |stream| stream.time_base());
    packet.set_stream(stream);
    packet.rescale_ts(from, time_base);
    packet.write(output).context("the connection is lost")?;
    Ok(())
}

fn open_video(form: Form) -> anyhow::Result<encoder::video::Encoder> {
    let codec = encoder::find_by_name("libx264").context("FFmpeg has no x264; install Debian's libavcodec59")?;
    let mut video = Context::new_with_codec(codec).encoder().video()?;
    video.set_width(form.width);
    video.set_height(form.height);
    video.set_format(Pixel::YUV420P);
    video.set_time_base(Rational::new(1, form.fps as i32));
    video.set_frame_rate(Some(Rational::new(form.fps as i32, 1)));
    video.set_flags(codec::Flags::GLOBAL_HEADER | codec::Flags::CLOSED_GOP);
    video.set_colorspace(color::Space::BT709);
    video.set_bit_rate(form.bitrate);
    video.set_max_bit_rate(form.bitrate);
    video.set_gop(form.gop() as u32);
    let bufsize = form.bitrate.to_string();
    let options = Dictionary::from_iter([
        ("preset", "superfast"),
        ("tune", "zerolatency"),
        ("forced-idr", "1"),
        ("sc_threshold", "0"),
        ("bufsize", &bufsize),
        ("threads", "1"),
    ]);
    video.open_with(options).context("cannot open x264")
}

fn open_audio() -> anyhow::Result<encoder::audio::Encoder> {
    let codec = encoder::find_by_name("aac").context("FFmpeg has no AAC encoder; install Debian's libavcodec59")?;
    let mut audio = Context::new_with_codec(codec).encoder().audio()?;
    audio.set_rate(tone::RATE as i32);
    audio.set_format(Sample::F32(Type::Planar));
    audio.set_channel_layout(ChannelLayout::STEREO);
    audio.set_time_base(Rational::new(1, tone::RATE as i32));
    audio.set_flags(codec::Flags::GLOBAL_HEADER);
    audio.set_bit_rate(128_000);
    audio.open().context("cannot open the AAC encoder")
}

#[cfg(test)]
mod tests {
    use super::super::barcode::tests::read;
    use super::super::picture::Picture;
    use super::*;
    use ffmpeg_next::media::Type as Medium;

    const FORM: Form = Form { width: 320, height: 180, fps: 30, bitrate: 400_000 };
    const START: u64 = 1_790_000_000_250;

    /// Times in ms and key flags of each stream's packets, and the video packets themselves.
    type Read = (Vec<(i64, bool)>, Vec<i64>, Vec<Packet>);

    fn publish(frames: u64) -> (tempfile::TempDir, context::Input) {
        ffmpeg_next::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("source.flv");
        let mut session = Session::open(path.to_str().unwrap(), FORM).unwrap();
        session.start(START);
        let mut picture = Picture::new(FORM.width, FORM.height);
        for index in 0..frames {
            session.send(index, picture.draw(index, START + index * 1000 / 30)).unwrap();
        }
        session.close().unwrap();
        let input = format::input(&path).unwrap();
        (folder, input)
    }

    fn packets(input: &mut context::Input) -> Read {
        let video = input.streams().best(Medium::Video).unwrap().index();
        let (mut times, mut sounds, mut pictures) = (Vec::new(), Vec::new(), Vec::new());
        for (stream, packet) in input.packets() {
            if stream.index() == video {
                assert_eq!(packet.pts(), packet.dts(), "no B-frames");
                times.push((packet.pts().unwrap(), packet.is_key()));
                pictures.push(packet);
            } else {
                sounds.push(packet.pts().unwrap());
            }
        }
        (times, sounds, pictures)
    }

    #[test]
    fn key_frames_are_two_seconds_apart_and_nothing_is_missing() {
        let (_folder, mut input) = publish(150);
        let (pictures, sounds, _) = packets(&mut input);
        assert_eq!(pictures.len(), 150);
        for (index, (ms, key)) in (0_i64..).zip(pictures) {
            assert!((ms * 30 - index * 1000).abs() <= 30, "frame {index} at {ms} ms");
            assert_eq!(key, index % 60 == 0, "frame {index}");
        }
        assert_eq!(sounds[0], 0);
        assert!(sounds.windows(2).all(|pair| (21..=22).contains(&(pair[1] - pair[0]))), "{sounds:?}");
        assert!(sounds.last().unwrap() > &4950, "sound lasts as long as the picture");
    }

    #[test]
    fn the_bar_code_survives_the_encoder() {
        let (_folder, mut input) = publish(90);
        let parameters = input.streams().best(Medium::Video).unwrap().parameters();
        let mut decoder = Context::from_parameters(parameters).unwrap().decoder().video().unwrap();
        let mut index = 0;
        for packet in packets(&mut input).2 {
            decoder.send_packet(&packet).unwrap();
            let mut decoded = frame::Video::empty();
            while decoder.receive_frame(&mut decoded).is_ok() {
                for row in [4, 175] {
                    let row = &decoded.data(0)[row * decoded.stride(0)..][..320];
                    assert_eq!(read(row), Some((START + index * 1000 / 30) as u32), "frame {index}");
                }
                index += 1;
            }
        }
        assert!(index >= 80, "{index} frames decoded");
    }

    #[test]
    fn a_place_that_is_not_there_is_named() {
        let error = Session::open("/nonexistent/folder/x.flv", FORM).err().unwrap();
        assert!(
            format!("{error:#}").starts_with("cannot publish to /nonexistent/folder/x.flv: No such file"),
            "{error:#}"
        );
    }
}

//! The scenes: made by the `ffmpeg` program, the same in every run.

use super::encode::{FPS, GOP, HEIGHT, WIDTH};
use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::Serialize;
use std::path::Path;
use std::process::Command;

/// From what is easy to what is hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
pub(crate) enum Scene {
    /// A still picture, and another one every four seconds
    Slides,
    /// A still background with a camera's noise, and something that sways in front of it
    Talk,
    /// All of the picture moves, and parts of it faster
    Motion,
    /// What no encoder can foresee
    Noise,
}

impl Scene {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// With so few losses that what is encoded from it is judged, and not the source.
    pub(crate) fn make(self, path: &Path, seconds: u32) -> anyhow::Result<()> {
        let gop = GOP.to_string();
        let output = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-filter_complex", &self.graph(), "-map", "[out]"])
            .args(["-t", &seconds.to_string(), "-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency"])
            .args(["-pix_fmt", "yuv420p", "-g", &gop, "-keyint_min", &gop, "-sc_threshold", "0", "-crf", "6"])
            .args(["-y", "-f", "flv"])
            .arg(path)
            .output()
            .context("ffmpeg cannot be run; install Debian's ffmpeg")?;
        ensure!(output.status.success(), "ffmpeg made no scene: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn graph(self) -> String {
        let size = format!("size={WIDTH}x{HEIGHT}");
        // One picture of a set that is full of detail, for ever.
        let still =
            format!("mandelbrot={size}:rate={FPS}:start_scale=0.02,trim=end_frame=1,loop=loop=-1:size=1,fps={FPS}");
        match self {
            Self::Slides => format!("testsrc2={size}:rate=1/4,fps={FPS}[out]"),
            Self::Talk => format!(
                "{still},noise=alls=3:allf=t:all_seed=1[room];testsrc2=size=320x400:rate={FPS}[head];\
                 [room][head]overlay=x='480+24*sin(2*t)':y='240+10*sin(3*t)'[out]"
            ),
            Self::Motion => format!(
                "{still},scroll=h=0.011:v=0.004,noise=alls=4:allf=t:all_seed=1[field];\
                 testsrc2=size=160x240:rate={FPS},split[a][b];\
                 [field][a]overlay=x='mod(430*t,1280)-80':y='200+60*sin(5*t)'[one];\
                 [one][b]overlay=x='1200-mod(310*t,1280)':y='380+40*sin(4*t)'[out]"
            ),
            Self::Noise => format!("testsrc2={size}:rate={FPS},noise=alls=40:allf=t:all_seed=1[out]"),
        }
    }
}

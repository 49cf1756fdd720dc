//! How much encoded pictures look like those that they were made from, by ffmpeg's filters.

use super::curve::Point;
use super::encode::{FPS, Made};
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::Command;

pub(crate) fn point(made: &Made, source: &Path) -> anyhow::Result<Point> {
    // Picture by picture, whatever times their containers can hold.
    let counted = format!("settb=AVTB,setpts=N/{FPS}/TB,split");
    let graph = format!("[0:v]{counted}[a][b];[1:v]{counted}[c][d];[a][c]ssim;[b][d]psnr");
    let output = Command::new("ffmpeg")
        .args(["-v", "info", "-nostdin", "-nostats", "-hide_banner", "-i"])
        .arg(&made.path)
        .arg("-i")
        .arg(source)
        .args(["-lavfi", &graph, "-f", "null", "-"])
        .output()
        .context("ffmpeg cannot be run; install Debian's ffmpeg")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ffmpeg could not compare: {said}");
    Ok(Point { bits_per_s: made.bits_per_s, ssim_db: ssim_db(&said)?, psnr_db: psnr_db(&said)? })
}

/// From `All:0.987654 (19.084)`; the ratio has more digits than the decibels where pictures are almost the same.
fn ssim_db(said: &str) -> anyhow::Result<f64> {
    let ssim = behind(said, "All:").context("ffmpeg told no SSIM")?;
    // Six digits are all there are.
    Ok(-10.0 * (1.0 - ssim).max(1e-6).log10())
}

/// From `average:41.23`, and `average:inf` for pictures that are the same.
fn psnr_db(said: &str) -> anyhow::Result<f64> {
    Ok(behind(said, "average:").context("ffmpeg told no PSNR")?.min(100.0))
}

fn behind(said: &str, name: &str) -> Option<f64> {
    let (_, value) = said.rsplit_once(name)?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_filters_are_read() {
        let said = "[Parsed_ssim_4 @ 0x1] SSIM Y:0.98 (17.0) U:0.99 (20.0) V:0.99 (20.0) All:0.990000 (20.0)\n\
                    [Parsed_psnr_5 @ 0x2] PSNR y:40.1 u:44.0 v:45.0 average:41.23 min:38.0 max:50.0\n";
        assert!((ssim_db(said).unwrap() - 20.0).abs() < 1e-9);
        assert!((psnr_db(said).unwrap() - 41.23).abs() < 1e-9);
        assert!((psnr_db("average:inf min:inf").unwrap() - 100.0).abs() < 1e-9);
        assert!(ssim_db("nothing").is_err());
    }
}

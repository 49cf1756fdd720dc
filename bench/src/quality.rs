//! What a quality that is aimed at costs beside a bit rate that is spent, on scenes that differ in how hard they are.

mod curve;
mod encode;
mod judge;
mod plot;
mod scenes;

use crate::case::{self, Verdict};
use crate::machine::{self, Machine};
use crate::report::give;
use crate::stats::number;
use crate::{sys, table};
use anyhow::Context;
use clap::ValueEnum;
use config::{Coding, VideoCodec};
use curve::{Curve, Point};
use encode::Trial;
use scenes::Scene;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Length of each scene, in seconds
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(4..=120))]
    seconds: u32,
    /// The quality that is aimed at, as in origin.ladder.quality; by default the configuration's
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=51))]
    quality: Option<u8>,
    /// A Markdown page to put the results into, between its two marks
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Everything that was found
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) const MARKS: (&str, &str) = ("<!-- bench:quality -->", "<!-- /bench:quality -->");
/// Beside the page.
const PLOT: &str = "quality.svg";
/// That of the 720p rung of the named ladder "standard", in bits per second.
const LADDER_RATE: u32 = 3_000_000;
/// What else is spent, so that there is a rate for every quality.
const RATES: [u32; 9] = [50_000, 100_000, 200_000, 400_000, 800_000, 1_500_000, LADDER_RATE, 6_000_000, 12_000_000];
/// Those at which AV1 is tried, and the presets of SVT-AV1.
const AV1_RATES: [u32; 5] = [200_000, 400_000, 800_000, 1_500_000, LADDER_RATE];
const AV1_PRESETS: [&str; 3] = ["8", "10", "12"];
/// The reference configuration's.
const QUALITY: u8 = 23;

#[derive(Debug, Serialize)]
struct Report {
    command: String,
    date: String,
    machine: Machine,
    quality: u8,
    scenes: Vec<(Scene, Found)>,
}

/// Of one scene.
#[derive(Debug, Serialize)]
struct Found {
    /// The ladder's rate, and no more than a quality takes.
    aimed: Point,
    /// The ladder's rate, spent.
    spent: Point,
    /// Rates, spent: what each looks like.
    constant: Curve,
    av1: Vec<Av1>,
}

/// One preset of SVT-AV1.
#[derive(Debug, Serialize)]
struct Av1 {
    preset: &'static str,
    curve: Curve,
    /// Of all its rates together, which are encoded at once.
    pictures_per_s: f64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let command = std::env::args().skip(1).fold("bench".to_owned(), |all, argument| format!("{all} {argument}"));
    let (machine, date) = (Machine::look(sys::raise_open_files()), machine::date());
    let quality = arguments.quality.unwrap_or(QUALITY);
    let mut report = Report { command, date, machine, quality, scenes: Vec::new() };
    for &scene in Scene::value_variants() {
        eprintln!("scene {}", scene.name());
        let folder = tempfile::tempdir()?;
        report.scenes.push((scene, look(scene, quality, arguments.seconds, folder.path())?));
    }
    let files = (arguments.json.as_deref(), arguments.write.as_deref());
    if let Some(page) = files.1 {
        std::fs::write(page.with_file_name(PLOT), plot::svg(&report.scenes)?)?;
    }
    give((&report, &report.machine), &report.markdown(), MARKS, files)
}

fn look(scene: Scene, quality: u8, seconds: u32, folder: &Path) -> anyhow::Result<Found> {
    let source = folder.join("source.flv");
    scene.make(&source, seconds)?;
    let coding = |quality| Coding { codec: VideoCodec::H264, quality, preset: "veryfast".to_owned() };
    let aimed = Trial { bitrate: LADDER_RATE, coding: coding(Some(quality)) };
    let spent = RATES.iter().map(|&bitrate| Trial { bitrate, coding: coding(None) });
    let trials: Vec<Trial> = std::iter::once(aimed).chain(spent).collect();
    let mut points = points(&source, &trials, folder)?.0.into_iter();
    let aimed = points.next().context("the first trial has a point")?;
    let constant: Vec<Point> = points.collect();
    let spent = RATES.iter().position(|&rate| rate == LADDER_RATE).and_then(|index| constant.get(index));
    let spent = *spent.context("the ladder's rate was tried")?;
    let av1 = AV1_PRESETS.map(|preset| av1(preset, &source, folder));
    let av1 = av1.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Found { aimed, spent, constant: Curve::new(constant), av1 })
}

fn av1(preset: &'static str, source: &Path, folder: &Path) -> anyhow::Result<Av1> {
    let coding = Coding { codec: VideoCodec::Av1, quality: None, preset: preset.to_owned() };
    let trials = AV1_RATES.map(|bitrate| Trial { bitrate, coding: coding.clone() });
    let (points, pictures_per_s) = points(source, &trials, folder)?;
    Ok(Av1 { preset, curve: Curve::new(points), pictures_per_s })
}

/// Of each trial, and how many pictures of all were encoded in a second.
fn points(source: &Path, trials: &[Trial], folder: &Path) -> anyhow::Result<(Vec<Point>, f64)> {
    let began = Instant::now();
    let made = encode::all(source, trials, folder)?;
    let pictures: usize = made.iter().map(|made| made.pictures).sum();
    let pictures_per_s = pictures as f64 / began.elapsed().as_secs_f64();
    let points = made.iter().map(|made| judge::point(made, source)).collect::<anyhow::Result<_>>()?;
    Ok((points, pictures_per_s))
}

impl Found {
    /// Bits of the quality that is aimed at, by those of the rate that looks the same.
    fn at_equal_ssim(&self) -> Option<f64> {
        Some(self.aimed.bits_per_s / self.constant.bits_at(self.aimed.ssim_db, |point| point.ssim_db)?)
    }

    /// Decibels of PSNR that are lost beside a rate of as many bits.
    fn lost_db(&self) -> Option<f64> {
        Some(self.constant.db_at(self.aimed.bits_per_s, |point| point.psnr_db)? - self.aimed.psnr_db)
    }

    /// How many more bits a preset takes for the same SSIM than x264, in per cent.
    fn delta_rates(&self) -> impl Iterator<Item = (&Av1, Option<f64>)> {
        let delta = |av1: &Av1| Some(100.0 * av1.curve.delta_rate(&self.constant, |point| point.ssim_db)?);
        self.av1.iter().map(move |av1| (av1, delta(av1)))
    }

    fn row(&self, scene: Scene) -> Vec<String> {
        let kbit = |point: Point| number(point.bits_per_s / 1000.0);
        let figure = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"));
        vec![
            scene.name(),
            kbit(self.spent),
            kbit(self.aimed),
            format!("{:.2} / {:.2}", self.spent.ssim_db, self.aimed.ssim_db),
            format!("{:.2} / {:.2}", self.spent.psnr_db, self.aimed.psnr_db),
            figure(self.at_equal_ssim()),
            figure(self.lost_db()),
        ]
    }
}

impl Report {
    fn of(&self, scene: Scene) -> Option<&Found> {
        self.scenes.iter().find(|(known, _)| *known == scene).map(|(_, found)| found)
    }

    /// Of a preset, the mean over the scenes in which there is anything to be seen again; what it took to encode them.
    fn av1(&self, preset: &str) -> (Option<f64>, f64) {
        let scenes = || self.scenes.iter().filter(|(scene, _)| *scene != Scene::Noise);
        let of = |found: &Found| found.delta_rates().find(|(av1, _)| av1.preset == preset).and_then(|(_, delta)| delta);
        let deltas: Option<Vec<f64>> = scenes().map(|(_, found)| of(found)).collect();
        let speeds = self.scenes.iter().flat_map(|(_, found)| &found.av1).filter(|av1| av1.preset == preset);
        let slowest = speeds.map(|av1| av1.pictures_per_s).fold(f64::INFINITY, f64::min);
        (deltas.map(|deltas| deltas.iter().sum::<f64>() / deltas.len() as f64), slowest)
    }

    fn av1_rows(&self) -> Vec<Vec<String>> {
        let row = |preset: &&str| {
            let of =
                |found: &Found| found.delta_rates().find(|(av1, _)| av1.preset == *preset).and_then(|(_, delta)| delta);
            let percent = |delta: Option<f64>| delta.map_or_else(|| "–".to_owned(), |delta| format!("{delta:+.0} %"));
            let scenes = self.scenes.iter().map(|(_, found)| percent(of(found)));
            std::iter::once((*preset).to_owned()).chain(scenes).chain([number(self.av1(preset).1)]).collect()
        };
        AV1_PRESETS.iter().map(row).collect()
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let bits = |scene: Scene, share: f64| {
            let aim = format!("bits on {} by those of a spent rate of equal SSIM", scene.name());
            let found = self.of(scene).and_then(Found::at_equal_ssim);
            Verdict::at_most("L3", aim, found, share, " x")
        };
        let lost = "PSNR lost on motion beside a spent rate of as many bits".to_owned();
        let motion = self.of(Scene::Motion).and_then(Found::lost_db);
        let mut all =
            vec![bits(Scene::Slides, 0.5), bits(Scene::Talk, 0.8), Verdict::at_most("L3", lost, motion, 0.2, " dB")];
        all.extend(AV1_PRESETS.iter().map(|preset| {
            let aim =
                format!("bits of AV1, preset {preset}, for the SSIM of H.264, slides, talk and motion: -30 % or less");
            Verdict::at_most("L4", aim, self.av1(preset).0, -30.0, " %")
        }));
        all
    }

    fn markdown(&self) -> String {
        let mut out = self.machine.heading(&self.command, &self.date);
        for doubt in self.machine.doubts() {
            out.push_str(&format!("- **{doubt}**\n"));
        }
        let rows: Vec<_> = self.scenes.iter().map(|(scene, found)| found.row(*scene)).collect();
        let rate = LADDER_RATE / 1000;
        let header = [
            "720p30, x264 veryfast",
            &format!("{rate} kbit/s spent: kbit/s"),
            &format!("at most quality {}: kbit/s", self.quality),
            "SSIM, dB",
            "PSNR, dB",
            "bits at equal SSIM",
            "dB lost at equal bits",
        ];
        let table = table::render(&header, &rows);
        out.push_str(&format!("\n{}\n### Scenes\n\n{table}", case::markdown(&self.verdicts())));
        let scenes: Vec<String> = self.scenes.iter().map(|(scene, _)| scene.name()).collect();
        let names = scenes.iter().map(String::as_str);
        let header: Vec<&str> =
            std::iter::once("SVT-AV1 preset").chain(names).chain(["pictures/s, five encoders at once"]).collect();
        let table = table::render(&header, &self.av1_rows());
        out.push_str(&format!("\n### AV1: bits for the same SSIM, beside x264 veryfast (BD-rate)\n\n{table}"));
        out.push_str(&format!("\n![Bits and SSIM of each scene, codec and preset]({PLOT})\n"));
        out
    }
}

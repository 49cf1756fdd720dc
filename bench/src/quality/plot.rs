//! Bits and looks of each scene as a picture.

use super::curve::{Curve, Point};
use super::{Found, Scene};
use plotters::coord::Shift;
use plotters::prelude::*;

const SIZE: (u32, u32) = (1000, 760);
/// Of what is spent by x264, then of the presets of SVT-AV1.
const COLOURS: [RGBColor; 4] =
    [RGBColor(30, 30, 30), RGBColor(0, 90, 181), RGBColor(26, 133, 255), RGBColor(150, 190, 245)];
const AIMED: RGBColor = RGBColor(220, 50, 32);

/// SVG: for each scene the SSIM of every rate, and where the quality that is aimed at is.
pub(super) fn svg(scenes: &[(Scene, Found)]) -> anyhow::Result<String> {
    let mut text = String::new();
    {
        let all = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        all.fill(&WHITE)?;
        for ((scene, found), area) in scenes.iter().zip(all.split_evenly((2, 2))) {
            draw(&area, &scene.name(), found)?;
        }
        all.present()?;
    }
    Ok(text)
}

fn draw(area: &DrawingArea<SVGBackend<'_>, Shift>, scene: &str, found: &Found) -> anyhow::Result<()> {
    let named = |av1: &super::Av1| format!("SVT-AV1 {}", av1.preset);
    let curves: Vec<(String, &Curve)> = std::iter::once(("x264 veryfast".to_owned(), &found.constant))
        .chain(found.av1.iter().map(|av1| (named(av1), &av1.curve)))
        .collect();
    let points = || curves.iter().flat_map(|(_, curve)| curve.points()).chain([&found.aimed]);
    let ends = |of: fn(&Point) -> f64| {
        points().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), of| (low.min(of), high.max(of)))
    };
    let ((least, most), (worst, best)) = (ends(kbit), ends(|point| point.ssim_db));
    let mut chart = ChartBuilder::on(area)
        .caption(scene, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(45)
        .build_cartesian_2d((least * 0.9..most * 1.1).log_scale(), worst - 0.5..best + 0.5)?;
    chart.configure_mesh().x_desc("kbit/s").y_desc("SSIM, dB").x_label_formatter(&|x| format!("{x:.0}")).draw()?;
    for ((name, curve), colour) in curves.iter().zip(COLOURS) {
        let line = LineSeries::new(curve.points().iter().map(place), colour.stroke_width(2)).point_size(3);
        let sign = move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], colour.stroke_width(2));
        chart.draw_series(line)?.label(name).legend(sign);
    }
    let aimed = std::iter::once(Circle::new(place(&found.aimed), 5, AIMED.filled()));
    let sign = |(x, y)| Circle::new((x + 8, y), 4, AIMED.filled());
    chart.draw_series(aimed)?.label("the ladder's quality").legend(sign);
    let labels = SeriesLabelPosition::LowerRight;
    chart.configure_series_labels().position(labels).background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    Ok(())
}

fn kbit(point: &Point) -> f64 {
    point.bits_per_s / 1000.0
}

fn place(point: &Point) -> (f64, f64) {
    (kbit(point), point.ssim_db)
}

#[cfg(test)]
mod tests {
    use super::super::Av1;
    use super::*;

    #[test]
    fn every_scene_has_every_curve() {
        let point = |bits_per_s: f64| Point { bits_per_s, ssim_db: bits_per_s.log10(), psnr_db: 30.0 };
        let curve = || Curve::new(vec![point(1e5), point(1e6)]);
        let av1 = ["8", "10"].map(|preset| Av1 { preset, curve: curve(), pictures_per_s: 60.0 });
        let found = Found { aimed: point(3e5), spent: point(1e6), constant: curve(), av1: av1.into_iter().collect() };
        let svg = svg(&[(Scene::Slides, found)]).unwrap();
        for name in ["x264 veryfast", "SVT-AV1 8", "SVT-AV1 10", "the ladder&apos;s quality"] {
            assert_eq!(svg.matches(name).count(), 1, "{name}: {svg}");
        }
        assert_eq!(svg.matches("<circle").count(), 2 + 3 * 2, "the quality, and the rates of three curves");
    }
}

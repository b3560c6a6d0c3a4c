//! The charts: SVG files that stand alone. A style sheet in each turns light into dark where the
//! reader's system is dark.

mod bars;
mod growth;
mod latency;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::measure::Report;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const PAPER: RGBColor = RGBColor(255, 255, 255);
const INK: RGBColor = RGBColor(36, 41, 47);
const LINES: RGBColor = RGBColor(208, 215, 222);
/// Told apart by those who don't see all colours, too (Okabe and Ito).
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
];

/// What a colour becomes where it is dark. The others are fit for both.
const DARK: [(&str, &str); 4] = [
    ("#FFFFFF", "#0D1117"),
    ("#24292F", "#E6EDF3"),
    ("#D0D7DE", "#30363D"),
    ("#0072B2", "#58A6FF"),
];

const FONT: &str = "sans-serif";
const WIDTH: u32 = 900;
/// What is above and below the rows of a chart, in pixels.
const AROUND: u32 = 100;
/// Of the smaller letters, in pixels.
const LETTER: u32 = 13;

/// Draws what there is to be drawn, and says where it is.
pub fn draw(report: &Report, dir: &Path) -> Result<Vec<PathBuf>> {
    let write = |(name, svg): (&str, String)| {
        let path = dir.join(format!("{name}.svg"));
        fs::write(&path, svg).with_context(|| path.display().to_string())?;
        Ok(path)
    };
    all(report)?.into_iter().map(write).collect()
}

/// The charts by name, as SVG.
pub fn all(report: &Report) -> Result<Vec<(&'static str, String)>> {
    let mut charts = Vec::new();
    if let Some(throughput) = &report.throughput {
        charts.push(("throughput", bars::speed(throughput).svg()?));
        charts.push(("cpu", bars::cpu(throughput).svg()?));
    }
    if let Some(small) = &report.small_files {
        charts.push(("latency", latency::latency(small)?));
    }
    if let Some(of) = &report.growth {
        charts.push(("growth", growth::growth(of)?));
    }
    Ok(charts.into_iter().map(|(name, svg)| (name, with_dark_side(&svg))).collect())
}

/// Rules of a style sheet go before the attributes that plotters writes.
fn with_dark_side(svg: &str) -> String {
    let rule = |(light, dark): (&str, &str)| {
        format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}")
    };
    let rules: String = DARK.into_iter().map(rule).collect();
    let style = format!("<style>@media (prefers-color-scheme:dark){{{rules}}}</style>");
    svg.replacen(">\n", &format!(">\n{style}\n"), 1)
}

fn paper(svg: &mut String, height: u32) -> Result<Area<'_>> {
    let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    root.fill(&PAPER)?;
    Ok(root)
}

fn legend<'a, CT: CoordTranslate>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, CT>,
    position: SeriesLabelPosition,
) -> Result<()> {
    chart
        .configure_series_labels()
        .position(position)
        .label_font((FONT, LETTER, &INK))
        .background_style(PAPER)
        .border_style(LINES)
        .draw()?;
    Ok(())
}

/// How wide the longest name is, in pixels: letters are about half as wide as high.
fn room_for(names: &[&str]) -> u32 {
    let longest = names.iter().map(|it| it.chars().count()).max().unwrap_or(0);
    longest as u32 * LETTER * 11 / 20 + 14
}

/// How many rows of such a height it takes for so many groups, and below them the legend.
fn rows(groups: usize, series: usize, height: u32) -> u32 {
    groups as u32 + (series as u32 * 18 + 20).div_ceil(height)
}

/// Writes each name to the left of its group, which is one of so many rows.
fn write_names(
    root: &Area<'_>,
    (x, y): (Range<i32>, Range<i32>),
    names: &[&str],
    rows: u32,
) -> Result<()> {
    let style = (FONT, LETTER, &INK).into_text_style(root).pos(Pos::new(HPos::Right, VPos::Center));
    let step = f64::from(y.end - y.start) / f64::from(rows);
    for (at, name) in names.iter().enumerate() {
        let middle = f64::from(y.start) + step * (at as f64 + 0.5);
        root.draw(&Text::new((*name).to_owned(), (x.start - 8, middle as i32), style.clone()))?;
    }
    Ok(())
}

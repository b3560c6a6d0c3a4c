//! What a unit costs when there are many.

use anyhow::Result;
use plotters::prelude::*;

use super::{Area, COLOURS, FONT, INK, LETTER, LINES, legend, paper};
use crate::measure::growth::Growth;

/// A line, with its name if it has company.
type Line = (Option<String>, Vec<(f64, f64)>);

/// Three charts side by side. Lines that stay flat are good.
pub fn growth(growth: &Growth) -> Result<String> {
    let workers = growth.workers.iter();
    let workers =
        workers.map(|it| (f64::from(it.workers), it.dispatch_microseconds.median)).collect();
    let clients = growth.clients.iter();
    let clients =
        clients.map(|it| (it.clients as f64, it.microseconds_per_request.median)).collect();
    let mut files: Vec<Line> = Vec::new();
    for row in growth.files.iter().filter(|it| it.mib > 0) {
        if files.last().is_none_or(|line| line.0.as_ref() != Some(&row.stage)) {
            files.push((Some(row.stage.clone()), Vec::new()));
        }
        if let Some(line) = files.last_mut() {
            line.1.push((row.mib as f64, row.microseconds_per_unit.median));
        }
    }
    let mut svg = String::new();
    {
        let root = paper(&mut svg, 340)?;
        let areas = root.split_evenly((1, 3));
        lines(
            &areas[0],
            "One client, many workers",
            "workers",
            "µs until served",
            &[(None, workers)],
        )?;
        lines(
            &areas[1],
            "Many clients, 5 workers",
            "clients",
            "µs per request",
            &[(None, clients)],
        )?;
        lines(&areas[2], "Large files, to a sink", "MiB", "µs per MiB", &files)?;
        root.present()?;
    }
    Ok(svg)
}

fn lines(area: &Area<'_>, title: &str, x: &str, y: &str, lines: &[Line]) -> Result<()> {
    let points = || lines.iter().flat_map(|line| &line.1);
    let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(1.0, f64::max);
    let least = points().map(|it| it.0).fold(f64::MAX, f64::min).min(most(|it| it.0) / 2.0);
    let above = if lines.len() > 1 { 1.8 } else { 1.4 }; // the legend needs room
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 15, &INK))
        .margin(10)
        .margin_right(20)
        .x_label_area_size(40)
        .y_label_area_size(58)
        .build_cartesian_2d(
            (least..most(|it| it.0) * 1.1).log_scale(),
            0.0..most(|it| it.1) * above,
        )?;
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc(y)
        .x_labels(5)
        .x_label_formatter(&|it| format!("{it:.0}"))
        .y_label_formatter(&|it| format!("{it:.0}"))
        .max_light_lines(0)
        .bold_line_style(LINES)
        .axis_style(INK)
        .label_style((FONT, LETTER, &INK))
        .draw()?;
    for (at, (name, points)) in lines.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let line =
            chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
        if let Some(name) = name {
            line.label(name).legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2))
            });
        }
        chart.draw_series(points.iter().map(|&it| Circle::new(it, 3, colour.filled())))?;
    }
    if lines.len() > 1 {
        legend(&mut chart, SeriesLabelPosition::UpperRight)?;
    }
    Ok(())
}

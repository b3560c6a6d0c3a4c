//! How long a small file takes.

use anyhow::Result;
use plotters::prelude::*;

use super::{
    AROUND, COLOURS, FONT, INK, LETTER, LINES, legend, paper, room_for, rows, write_names,
};
use crate::measure::small::{Row, SmallFiles};

/// From the median to the 99th percentile, for each number of clients.
pub fn latency(small: &SmallFiles) -> Result<String> {
    let mut names: Vec<&str> = Vec::new();
    let mut clients: Vec<usize> = Vec::new();
    for row in &small.rows {
        if !names.contains(&row.server.as_str()) {
            names.push(&row.server);
        }
        if !clients.contains(&row.clients) {
            clients.push(row.clients);
        }
    }
    let all = || {
        small.rows.iter().flat_map(|it| [it.p50_microseconds.median, it.p99_microseconds.median])
    };
    let (least, most) = (all().fold(f64::MAX, f64::min), all().fold(1.0, f64::max));
    let mut svg = String::new();
    {
        let group = 47;
        let rows = rows(names.len(), clients.len(), group);
        let root = paper(&mut svg, AROUND + rows * group)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(
                "Latency of a small file: from the median to the 99th percentile",
                (FONT, 18, &INK),
            )
            .margin(12)
            .margin_right(30)
            .x_label_area_size(40)
            .y_label_area_size(room_for(&names))
            .build_cartesian_2d((least * 0.8..most * 1.3).log_scale(), f64::from(rows)..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_desc("microseconds (logarithmic)")
            .x_label_formatter(&|it| format!("{it:.0}"))
            .max_light_lines(0)
            .bold_line_style(LINES)
            .axis_style(INK)
            .label_style((FONT, LETTER, &INK))
            .draw()?;
        write_names(&root, chart.plotting_area().get_pixel_range(), &names, rows)?;
        for (series, &count) in clients.iter().enumerate() {
            let colour = COLOURS[series % COLOURS.len()];
            let of_count = || small.rows.iter().filter(|row| row.clients == count);
            let ends = |row: &Row| {
                let group = names.iter().position(|it| *it == row.server).unwrap_or_default();
                let y = group as f64 + (series as f64 + 1.0) / (clients.len() as f64 + 1.0);
                [(row.p50_microseconds.median, y), (row.p99_microseconds.median, y)]
            };
            chart
                .draw_series(
                    of_count().map(|row| PathElement::new(ends(row), colour.stroke_width(4))),
                )?
                .label(format!("{count} at a time"))
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(4))
                });
            chart
                .draw_series(of_count().map(|row| Circle::new(ends(row)[0], 5, colour.filled())))?;
        }
        legend(&mut chart, SeriesLabelPosition::LowerRight)?;
        root.present()?;
    }
    Ok(svg)
}

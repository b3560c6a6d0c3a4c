//! Bars: how fast, and at what cost.

use anyhow::Result;
use plotters::prelude::*;

use super::{
    AROUND, COLOURS, FONT, INK, LETTER, LINES, legend, paper, room_for, rows, write_names,
};
use crate::measure::place::Destination;
use crate::measure::statistics::Spread;
use crate::measure::throughput::{Row, Throughput};

/// A chart of bars that lie, in groups with a name.
pub struct Bars {
    title: String,
    unit: &'static str,
    series: Vec<&'static str>,
    /// The bars of a group, one for each series.
    groups: Vec<(String, Vec<Option<Spread>>)>,
    /// Is a bar to begin where the one before it ends?
    stacked: bool,
}

/// How fast, to each destination.
pub fn speed(throughput: &Throughput) -> Bars {
    let destinations = [Destination::Sink, Destination::Memory, Destination::Disk];
    let mut groups: Vec<(String, Vec<Option<Spread>>)> = Vec::new();
    for row in &throughput.rows {
        // A stage is one group, whoever receives from it.
        let name = if row.is_stage { row.sender.clone() } else { row.name() };
        let at = groups.iter().position(|it| it.0 == name).unwrap_or_else(|| {
            groups.push((name, vec![None; destinations.len()]));
            groups.len() - 1
        });
        let place = destinations.iter().position(|it| *it == row.to);
        groups[at].1[place.unwrap_or_default()] = Some(row.gib_per_second);
    }
    Bars {
        title: "Throughput of a large file (whiskers: half of the rounds)".to_owned(),
        unit: "GiB/s",
        series: destinations.iter().map(|it| it.name()).collect(),
        groups,
        stacked: false,
    }
}

/// What it costs, where both sides are programs: with a file at the end.
pub fn cpu(throughput: &Throughput) -> Bars {
    let has = |to| throughput.rows.iter().any(|row| row.to == to);
    let to = if has(Destination::Memory) { Destination::Memory } else { Destination::Disk };
    let rows = throughput.rows.iter().filter(|row| row.to == to);
    let group = |row: &Row| (row.name(), vec![Some(row.server_cpu), Some(row.client_cpu)]);
    Bars {
        title: format!("Processor time of a transfer to {}", to.name()),
        unit: "seconds per GiB",
        series: vec!["server", "client"],
        groups: rows.map(group).collect(),
        stacked: true,
    }
}

impl Bars {
    /// The chart.
    pub fn svg(&self) -> Result<String> {
        let bars_of_a_group = if self.stacked { 1 } else { self.series.len() as u32 };
        let group = bars_of_a_group * 11 + 14;
        let rows = rows(self.groups.len(), self.series.len(), group);
        let height = AROUND + rows * group;
        let mut svg = String::new();
        {
            let root = paper(&mut svg, height)?;
            let most = self.groups.iter().map(|it| self.end(&it.1)).fold(0.0, f64::max) * 1.05;
            let names: Vec<&str> = self.groups.iter().map(|it| it.0.as_str()).collect();
            let mut chart = ChartBuilder::on(&root)
                .caption(&self.title, (FONT, 18, &INK))
                .margin(12)
                .margin_right(30)
                .x_label_area_size(40)
                .y_label_area_size(room_for(&names))
                // Downwards: the first group is at the top.
                .build_cartesian_2d(0.0..most.max(f64::MIN_POSITIVE), f64::from(rows)..0.0)?;
            chart
                .configure_mesh()
                .disable_y_mesh()
                .disable_y_axis()
                .x_desc(self.unit)
                .max_light_lines(0)
                .bold_line_style(LINES)
                .axis_style(INK)
                .label_style((FONT, LETTER, &INK))
                .draw()?;
            write_names(&root, chart.plotting_area().get_pixel_range(), &names, rows)?;
            for (series, name) in self.series.iter().enumerate() {
                let colour = COLOURS[series % COLOURS.len()];
                let bars = (0..self.groups.len()).filter_map(|at| self.bar(at, series));
                chart
                    .draw_series(bars.map(|it| Rectangle::new(it, colour.filled())))?
                    .label(*name)
                    .legend(move |(x, y)| {
                        Rectangle::new([(x + 4, y - 5), (x + 14, y + 5)], colour.filled())
                    });
                let whiskers = (0..self.groups.len()).filter_map(|at| self.whisker(at, series));
                chart.draw_series(whiskers.map(|it| PathElement::new(it, INK)))?;
            }
            legend(&mut chart, SeriesLabelPosition::LowerRight)?;
            root.present()?;
        }
        Ok(svg)
    }

    /// How far a group reaches.
    fn end(&self, bars: &[Option<Spread>]) -> f64 {
        let values = bars.iter().flatten();
        match self.stacked {
            true => values.map(|it| it.median).sum(),
            false => values.map(|it| it.high).fold(0.0, f64::max),
        }
    }

    /// Two corners.
    fn bar(&self, group: usize, series: usize) -> Option<[(f64, f64); 2]> {
        let bars = &self.groups[group].1;
        let value = bars[series]?.median;
        let begin = if self.stacked { self.end(&bars[..series]) } else { 0.0 };
        let (top, bottom) = self.lane(group, series);
        Some([(begin, top), (begin + value, bottom)])
    }

    /// A line from quarter to quarter.
    fn whisker(&self, group: usize, series: usize) -> Option<[(f64, f64); 2]> {
        let spread = self.groups[group].1[series].filter(|_| !self.stacked)?;
        let (top, bottom) = self.lane(group, series);
        let middle = f64::midpoint(top, bottom);
        Some([(spread.low, middle), (spread.high, middle)])
    }

    /// Where the bars of a series are, between 0.12 and 0.88 of their group.
    fn lane(&self, group: usize, series: usize) -> (f64, f64) {
        let lanes = if self.stacked { 1.0 } else { self.series.len() as f64 };
        let series = if self.stacked { 0.0 } else { series as f64 };
        let edge = |at: f64| group as f64 + 0.12 + 0.76 * at / lanes;
        (edge(series), edge(series + 1.0))
    }
}

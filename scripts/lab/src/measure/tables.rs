//! Tables for the notes, from what a bench has written with `--json`.
//!
//! Interface: [`Report::read`], [`Report::table`] by name, [`Report::origin`] to be set below it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::measure::grid::Grid;
use crate::measure::growth::Growth;
use crate::measure::place::Destination;
use crate::measure::small::SmallFiles;
use crate::measure::throughput::Throughput;
use crate::measure::{Report, SCHEMA, charts};

impl Report {
    /// Reads what a bench has written.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let report: Self =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        ensure!(report.schema == SCHEMA, "{}: it isn't {SCHEMA}", path.display());
        Ok(report)
    }

    /// The charts by name, as SVG.
    pub fn charts(&self) -> Result<Vec<(&'static str, String)>> {
        charts::all(self)
    }

    /// `throughput sink`, `small 8`, `primitives`, `workers`, `clients`, `files`.
    pub fn table(&self, name: &str) -> Result<String> {
        let missing = || format!("the bench has no numbers for {name}");
        let grid = match name.split_once(' ').unwrap_or((name, "")) {
            ("throughput", to) => throughput(self.throughput.as_ref().with_context(missing)?, to)?,
            ("small", clients) => {
                small(self.small_files.as_ref().with_context(missing)?, clients.parse()?)
            }
            ("primitives", _) => {
                let mut grid = Grid::new(["step", "µs"]);
                for cost in &self.primitives.as_ref().with_context(missing)?.0 {
                    grid.row([cost.what.clone(), cost.microseconds.text(1)]);
                }
                grid
            }
            ("workers", _) => workers(self.growth.as_ref().with_context(missing)?),
            ("clients", _) => clients(self.growth.as_ref().with_context(missing)?),
            ("files", _) => files(self.growth.as_ref().with_context(missing)?),
            _ => bail!("there is no table {name}"),
        };
        Ok(grid.markdown())
    }

    /// Where and when it was measured, and how to do it again.
    pub fn origin(&self) -> String {
        let day = self.date.split('T').next().unwrap_or_default();
        let machine = &self.machine;
        format!(
            "Measured on {day}, on a machine with {} × {}, Linux {}: medians of {} rounds, and half the \
             distance between the quarters. Yours will differ, the ratios less: `cargo lab bench`.",
            machine.processors,
            machine.processor,
            machine.kernel,
            self.plan.rounds.text()
        )
    }
}

fn throughput(throughput: &Throughput, to: &str) -> Result<Grid> {
    let to = match to {
        "sink" => Destination::Sink,
        "memory" => Destination::Memory,
        "disk" => Destination::Disk,
        _ => bail!("a file travels to a sink, to memory or to disk, not to {to:?}"),
    };
    let heads = ["server + client", "GiB/s", "CPU s/GiB", "calls/GiB", "page faults/GiB"];
    let mut grid = Grid::new(heads);
    for row in throughput.rows.iter().filter(|row| row.to == to) {
        let pair = |server: f64, client: f64, digits: usize| {
            format!("{server:.digits$} + {client:.digits$}")
        };
        grid.row([
            row.name(),
            row.gib_per_second.text(2),
            pair(row.server_cpu.median, row.client_cpu.median, 2),
            row.calls_per_gib.map_or("–".to_owned(), |it| pair(it.server, it.client, 0)),
            pair(row.server_faults.median, row.client_faults.median, 0),
        ]);
    }
    Ok(grid)
}

fn small(small: &SmallFiles, clients: usize) -> Grid {
    let heads =
        ["server", "files/s", "half take at most, µs", "99 % at most, µs", "times stage 04"];
    let mut grid = Grid::new(heads);
    for row in small.rows.iter().filter(|row| row.clients == clients) {
        grid.row([
            row.server.clone(),
            row.requests_per_second.text(0),
            row.p50_microseconds.text(0),
            row.p99_microseconds.text(0),
            row.times_the_first.text(2),
        ]);
    }
    grid
}

fn workers(growth: &Growth) -> Grid {
    let mut grid = Grid::new(["workers", "start, ms", "memory of each, KiB", "a client waits, µs"]);
    for row in &growth.workers {
        grid.row([
            row.workers.to_string(),
            row.start_milliseconds.text(1),
            row.pss_kib_per_worker.text(0),
            row.dispatch_microseconds.text(0),
        ]);
    }
    grid
}

fn clients(growth: &Growth) -> Grid {
    let mut grid = Grid::new(["clients at once", "µs/file"]);
    for row in &growth.clients {
        grid.row([row.clients.to_string(), row.microseconds_per_request.text(1)]);
    }
    grid
}

fn files(growth: &Growth) -> Grid {
    let mut grid = Grid::new(["server", "MiB", "µs/MiB", "most memory of the server, MiB"]);
    for row in growth.files.iter().filter(|row| row.mib > 0) {
        grid.row([
            row.stage.clone(),
            row.mib.to_string(),
            row.microseconds_per_unit.text(0),
            format!("{:.1}", row.server_peak_mib),
        ]);
    }
    grid
}

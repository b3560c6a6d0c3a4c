//! The tables of the throughput.

use crate::measure::calls::Calls;
use crate::measure::distance::apart;
use crate::measure::grid::Grid;
use crate::measure::place::Destination;
use crate::measure::throughput::{Row, Throughput};

impl Throughput {
    /// Two tables for each destination.
    pub fn text(&self) -> String {
        let mib = self.bytes >> 20;
        let mut text = String::new();
        for to in [Destination::Sink, Destination::Memory, Destination::Disk] {
            let rows: Vec<&Row> = self.rows.iter().filter(|it| it.to == to).collect();
            if let Some(row) = rows.first() {
                let apart = apart(row.nanoseconds_apart);
                text += &format!("\nthroughput: {mib} MiB to {}{apart}\n", to.name());
                text += &costs(&rows);
                text += &comparison(&rows);
            }
        }
        text
    }
}

fn costs(rows: &[&Row]) -> String {
    let mut grid = Grid::new([
        "server + client",
        "GiB/s",
        "CPU s/GiB",
        "",
        "calls/GiB",
        "",
        "faults/GiB",
        "",
        "peak MiB",
        "",
    ]);
    for row in rows {
        let calls = |side: fn(Calls) -> f64| {
            row.calls_per_gib.map_or("-".to_owned(), |it| format!("{:.0}", side(it)))
        };
        let mib =
            |kib: f64| if kib > 0.0 { format!("{:.1}", kib / 1024.0) } else { "-".to_owned() };
        grid.row([
            row.name(),
            row.gib_per_second.text(2),
            format!("{:.3}", row.server_cpu.median),
            format!("+ {:.3}", row.client_cpu.median),
            calls(|it| it.server),
            format!("+ {}", calls(|it| it.client)),
            format!("{:.0}", row.server_faults.median),
            format!("+ {:.0}", row.client_faults.median),
            mib(row.server_peak_kib),
            format!("+ {}", mib(row.client_peak_kib)),
        ]);
    }
    grid.text()
}

/// How many times faster the stages are: a column for each of them.
fn comparison(rows: &[&Row]) -> String {
    let stages: Vec<&&Row> = rows.iter().filter(|it| it.is_stage).collect();
    let heads = stages.iter().map(|it| it.sender.as_str());
    let mut grid = Grid::new(["times faster than"].into_iter().chain(heads));
    let mut others: Vec<&str> = Vec::new();
    for ratio in stages.iter().flat_map(|it| &it.faster_than) {
        if !others.contains(&&*ratio.other) {
            others.push(&ratio.other);
        }
    }
    for other in others {
        let cell = |row: &&&Row| {
            let ratio = row.faster_than.iter().find(|it| it.other == other);
            ratio.map_or("-".to_owned(), |it| it.times.text(2))
        };
        grid.row([other.to_owned()].into_iter().chain(stages.iter().map(cell)));
    }
    format!("\n{}", grid.text())
}

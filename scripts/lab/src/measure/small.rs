//! A small file, a new connection each time: what it costs to hand out work.
//!
//! Beside the stages there are two servers that no stage is: one forks a process for each
//! connection, in the other the workers accept by themselves and say one line.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::measure::distance::apart;
use crate::measure::grid::Grid;
use crate::measure::load::{Visit, load};
use crate::measure::part;
use crate::measure::peers::{self, Peer};
use crate::measure::process::Server;
use crate::measure::processors::Halves;
use crate::measure::rounds::{Cost, in_turn};
use crate::measure::setting::Setting;
use crate::measure::statistics::Spread;

const FILE: &str = "small.bin";
const BYTES: usize = 1024;
const WORKERS: u16 = 5;

/// How many clients come at the same time.
const CLIENTS: [usize; 3] = [1, 8, 50];

/// All rows.
#[derive(Deserialize, Serialize)]
pub struct SmallFiles {
    bytes: usize,
    pub rows: Vec<Row>,
}

/// A server under so many clients.
#[derive(Deserialize, Serialize)]
pub struct Row {
    pub server: String,
    pub is_stage: bool,
    pub clients: usize,
    /// The processors, see [`Samples`](crate::measure::rounds::Samples).
    #[serde(default)] // older reports have none
    nanoseconds_apart: Spread,
    pub requests_per_second: Spread,
    pub p50_microseconds: Spread,
    pub p99_microseconds: Spread,
    /// How many times faster the first stage is in the same round.
    pub times_the_first: Spread,
    /// Seconds per request, round by round.
    rounds: Vec<f64>,
}

struct Host {
    name: String,
    is_stage: bool,
    server: Server,
    request: Option<String>,
    bytes: usize,
}

struct Sample {
    seconds: f64,
    p50: f64,
    p99: f64,
}

impl Cost for Sample {
    fn cost(&self) -> f64 {
        self.seconds
    }
}

/// Measures all servers in turn, for each number of clients.
pub fn measure(setting: &mut Setting) -> Result<SmallFiles> {
    let file = setting.place.file(FILE, BYTES as u64)?;
    let mut rows = Vec::new();
    for clients in CLIENTS {
        let (hosts, _halves) = Halves::part_for(clients, || hosts(&file, setting))?;
        let what = format!("small files, {clients} clients");
        let samples = in_turn(&what, setting.plan.rounds, hosts.len(), setting, |at| {
            let Host { server, request, bytes, .. } = &hosts[at];
            let (port, request) = (server.port(), request.as_deref());
            let visit = Visit { port, request, says_all: false, bytes: *bytes };
            let load = load(visit, clients, setting.plan.sample)?;
            let quantile = |share| load.latency.value_at_quantile(share) as f64 / 1e3;
            Ok(Sample { seconds: 1.0 / load.per_second, p50: quantile(0.5), p99: quantile(0.99) })
        })?;
        let begin = rows.len();
        for (host, of_host) in hosts.iter().zip(samples.of) {
            match of_host {
                Ok(of_host) => rows.push(row(host, clients, &of_host, samples.apart)),
                Err(error) => setting.leave_out(format!("{}, {what}: {error:#}", host.name)),
            }
        }
        compare(&mut rows[begin..]);
    }
    Ok(SmallFiles { bytes: BYTES, rows })
}

fn hosts(file: &Path, setting: &mut Setting) -> Result<Vec<Host>> {
    let mut hosts = Vec::new();
    for program in setting.programs.clone() {
        match program.serve(file, WORKERS) {
            Ok(server) => hosts.push(Host {
                name: format!("{}: pool", program.name()),
                is_stage: true,
                server,
                request: None,
                bytes: BYTES,
            }),
            Err(error) => setting.leave_out(format!("stage {}: {error:#}", program.stage.number)),
        }
    }
    let mut add = |name: &str, server, request, bytes| {
        hosts.push(Host { name: name.to_owned(), is_stage: false, server, request, bytes });
    };
    let server = Server::that_announces(&mut part::command([Path::new("fork"), file]))?;
    add("a fork for each connection", server, None, BYTES);
    let workers = WORKERS.to_string();
    let server = Server::that_announces(&mut part::command(["accept", &workers]))?;
    add("workers accept, and say a line", server, None, part::LINE.len());
    if let Some(peer) = Peer::find("nginx", "-v", setting) {
        let dir = file.parent().context("a directory")?;
        let name = format!("{}, open_file_cache", peer.name);
        match peers::nginx(&peer, dir, setting) {
            Ok(server) => add(&name, server, Some(peers::request(FILE)), BYTES),
            Err(error) => setting.leave_out(format!("{name}: {error:#}")),
        }
    }
    Ok(hosts)
}

fn row(host: &Host, clients: usize, samples: &[Sample], apart: Spread) -> Row {
    let of = |value: fn(&Sample) -> f64| Spread::of(samples.iter().map(value));
    Row {
        server: host.name.clone(),
        is_stage: host.is_stage,
        clients,
        nanoseconds_apart: apart,
        requests_per_second: of(|it| 1.0 / it.seconds),
        p50_microseconds: of(|it| it.p50),
        p99_microseconds: of(|it| it.p99),
        times_the_first: Spread::of([]),
        rounds: samples.iter().map(|it| it.seconds).collect(),
    }
}

fn compare(rows: &mut [Row]) {
    let Some(first) = rows.first().map(|it| it.rounds.clone()) else { return };
    for row in rows {
        row.times_the_first = Spread::faster(&row.rounds, &first);
    }
}

impl SmallFiles {
    /// A table for each number of clients.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for clients in CLIENTS {
            let rows: Vec<&Row> = self.rows.iter().filter(|it| it.clients == clients).collect();
            let Some(first) = rows.first() else { continue };
            let speed = format!("× {}", first.server);
            let apart = apart(first.nanoseconds_apart);
            let title = format!("{} bytes, {clients} clients{apart}", self.bytes);
            let mut grid = Grid::new([&title, "requests/s", "p50 µs", "p99 µs", &speed]);
            for row in rows {
                grid.row([
                    row.server.clone(),
                    row.requests_per_second.text(0),
                    row.p50_microseconds.text(0),
                    row.p99_microseconds.text(0),
                    row.times_the_first.text(2),
                ]);
            }
            text += &format!("\n{}", grid.text());
        }
        text
    }
}

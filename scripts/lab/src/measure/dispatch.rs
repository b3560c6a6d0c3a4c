//! A new connection each time and one line for an answer: what it costs to bring a client to a
//! worker.
//!
//! In stage 03 the parent accepts and passes the connection on; in stage 09 it says that somebody
//! waits, and a worker accepts. Both have something to read before they answer: 03 a line, 09 an
//! empty name, which it refuses. The third server has no parent that says anything.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::compile::Tree;
use crate::measure::distance::apart;
use crate::measure::grid::Grid;
use crate::measure::load::{Visit, load};
use crate::measure::part;
use crate::measure::process::Server;
use crate::measure::processors::Halves;
use crate::measure::rounds::{Cost, in_turn};
use crate::measure::setting::Setting;
use crate::measure::statistics::Spread;
use crate::repo::Repo;

const WORKERS: &str = "5";

/// How many clients come at the same time.
const CLIENTS: [usize; 3] = [1, 8, 50];

/// The stages, what is said of each, and what a client sends.
const STAGES: [(&str, &str, &str); 2] =
    [("03", "the parent passes it on", "x\n"), ("09", "a worker accepts, when told", "\r\n")];

/// All rows.
#[derive(Deserialize, Serialize)]
pub struct Dispatch {
    rows: Vec<Row>,
}

/// A server under so many clients.
#[derive(Deserialize, Serialize)]
struct Row {
    server: String,
    clients: usize,
    /// The processors, see [`Samples`](crate::measure::rounds::Samples).
    #[serde(default)] // older reports have none
    nanoseconds_apart: Spread,
    connections_per_second: Spread,
    p99_microseconds: Spread,
    /// How many times faster the first one is in the same round.
    times_the_first: Spread,
}

struct Host {
    name: String,
    server: Server,
    request: Option<&'static str>,
}

struct Sample {
    seconds: f64,
    p99: f64,
}

impl Cost for Sample {
    fn cost(&self) -> f64 {
        self.seconds
    }
}

/// Measures all servers in turn, for each number of clients.
pub fn measure(repo: &Repo, setting: &mut Setting) -> Result<Dispatch> {
    let candidates = candidates(repo, setting)?;
    let mut rows = Vec::new();
    for clients in CLIENTS {
        let (hosts, _halves) = Halves::part_for(clients, || hosts(&candidates, setting))?;
        let what = format!("dispatch, {clients} clients");
        let samples = in_turn(&what, setting.plan.rounds, hosts.len(), setting, |at| {
            let Host { server, request, .. } = &hosts[at];
            let (port, request) = (server.port(), *request);
            let visit = Visit { port, request, says_all: request.is_some(), bytes: 1 };
            let load = load(visit, clients, setting.plan.sample)?;
            let p99 = load.latency.value_at_quantile(0.99) as f64 / 1e3;
            Ok(Sample { seconds: 1.0 / load.per_second, p99 })
        })?;
        let mut first: Option<Vec<f64>> = None;
        for (host, of_host) in hosts.iter().zip(samples.of) {
            match of_host {
                Ok(of_host) => {
                    let rounds: Vec<f64> = of_host.iter().map(|it| it.seconds).collect();
                    let first = first.get_or_insert_with(|| rounds.clone());
                    rows.push(Row {
                        server: host.name.clone(),
                        clients,
                        nanoseconds_apart: samples.apart,
                        connections_per_second: Spread::of(rounds.iter().map(|it| 1.0 / it)),
                        p99_microseconds: Spread::of(of_host.iter().map(|it| it.p99)),
                        times_the_first: Spread::faster(&rounds, first),
                    });
                }
                Err(error) => setting.leave_out(format!("{}, {what}: {error:#}", host.name)),
            }
        }
    }
    Ok(Dispatch { rows })
}

/// A stage that can be measured.
struct Candidate {
    name: String,
    program: PathBuf,
    request: &'static str,
}

fn candidates(repo: &Repo, setting: &mut Setting) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for (number, how, request) in STAGES {
        let stage = repo.stage(number)?;
        let name = format!("{number} {}: {how}", stage.name);
        match Tree::here(repo).release(&stage)? {
            Ok(program) => candidates.push(Candidate { name, program, request }),
            Err(_) => setting.leave_out(format!("stage {number}: it doesn't build")),
        }
    }
    Ok(candidates)
}

fn hosts(candidates: &[Candidate], setting: &mut Setting) -> Result<Vec<Host>> {
    let mut hosts = Vec::new();
    for Candidate { name, program, request } in candidates {
        match serve(program) {
            Ok(server) => hosts.push(Host { name: name.clone(), server, request: Some(request) }),
            Err(error) => setting.leave_out(format!("{name}: {error:#}")),
        }
    }
    let server = Server::that_announces(&mut part::command(["accept", WORKERS]))?;
    let name = "workers accept, and nobody tells them".to_owned();
    hosts.push(Host { name, server, request: None });
    Ok(hosts)
}

fn serve(program: &Path) -> Result<Server> {
    let mut command = Command::new(program);
    let args = ["serve", "--port", "0", "--quiet", "--workers", WORKERS];
    Server::that_announces(command.args(args))
}

impl Dispatch {
    /// A table for each number of clients.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for clients in CLIENTS {
            let rows: Vec<&Row> = self.rows.iter().filter(|it| it.clients == clients).collect();
            let Some(first) = rows.first() else { continue };
            let speed = format!("× {}", first.server.split(':').next().unwrap_or_default());
            let apart = apart(first.nanoseconds_apart);
            let title = format!("one line, {clients} clients{apart}");
            let mut grid = Grid::new([&title, "connections/s", "p99 µs", &speed]);
            for row in rows {
                grid.row([
                    row.server.clone(),
                    row.connections_per_second.text(0),
                    row.p99_microseconds.text(0),
                    row.times_the_first.text(2),
                ]);
            }
            text += &format!("\n{}", grid.text());
        }
        text
    }
}

//! Does a unit cost more when there are many? More workers, more clients, more bytes.

use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::measure::discard::discard;
use crate::measure::grid::Grid;
use crate::measure::load::{Visit, load};
use crate::measure::machine::{available_memory, kib};
use crate::measure::process::Server;
use crate::measure::rounds::in_turn;
use crate::measure::setting::{Program, Setting};
use crate::measure::statistics::Spread;

const SMALL: usize = 1024;
const WORKERS: u16 = 5;

const WORKER_COUNTS: [u16; 5] = [1, 10, 100, 300, 1000];
const CLIENT_COUNTS: [usize; 5] = [1, 5, 20, 100, 500];
/// In MiB.
const SIZES: [u64; 5] = [0, 64, 512, 2048, 8192];
/// The largest of them is so many times as large as the file of the throughput, or with `--quick`.
const TIMES: u64 = 8;
const TIMES_QUICK: u64 = 4;

/// All of it.
#[derive(Deserialize, Serialize)]
pub struct Growth {
    /// The stage whose workers and clients these are: the last one measured.
    stage: String,
    pub workers: Vec<Workers>,
    pub clients: Vec<Clients>,
    pub files: Vec<Files>,
}

/// A pool of so many.
#[derive(Deserialize, Serialize)]
pub struct Workers {
    pub workers: u16,
    /// From the start of the program until it listens.
    pub start_milliseconds: Spread,
    /// The proportional set size, see proc_pid_smaps(5): what is shared is shared out.
    pub pss_kib_per_worker: Spread,
    /// The median of what one client after the other waits for a small file.
    pub dispatch_microseconds: Spread,
}

/// So many at the same time.
#[derive(Deserialize, Serialize)]
pub struct Clients {
    pub clients: usize,
    pub microseconds_per_request: Spread,
}

/// A file of that size, all holes, sent to a sink.
#[derive(Deserialize, Serialize)]
pub struct Files {
    pub stage: String,
    pub mib: u64,
    /// Of a file of 0 bytes: the time of the whole transfer. Else that of each MiB.
    pub microseconds_per_unit: Spread,
    pub server_peak_mib: f64,
}

/// Measures all three.
pub fn measure(setting: &mut Setting) -> Result<Growth> {
    let program = setting.programs.last().context("no stage")?.clone();
    let small = setting.place.file("small.bin", SMALL as u64)?;
    Ok(Growth {
        stage: program.name(),
        workers: workers(&program, &small, setting)?,
        clients: clients(&program, &small, setting)?,
        files: files(setting)?,
    })
}

fn workers(program: &Program, small: &Path, setting: &mut Setting) -> Result<Vec<Workers>> {
    let (rounds, count) = (setting.plan.rounds, WORKER_COUNTS.len());
    let samples = in_turn("growth, workers", rounds, count, setting, |at| {
        let workers = WORKER_COUNTS[at];
        let begin = Instant::now();
        let server = program.serve(small, workers)?;
        let start = begin.elapsed().as_secs_f64() * 1e3;
        let load = load(visit(&server), 1, setting.plan.sample / 3)?;
        let pss = pss_kib(&server) / f64::from(workers);
        Ok((load.latency.value_at_quantile(0.5) as f64 / 1e3, (start, pss)))
    })?;
    let mut rows = Vec::new();
    for (workers, samples) in WORKER_COUNTS.into_iter().zip(samples.of) {
        match samples {
            Ok(samples) => rows.push(Workers {
                workers,
                start_milliseconds: Spread::of(samples.iter().map(|it| it.1.0)),
                pss_kib_per_worker: Spread::of(samples.iter().map(|it| it.1.1)),
                dispatch_microseconds: Spread::of(samples.iter().map(|it| it.0)),
            }),
            Err(error) => setting.leave_out(format!("{workers} workers: {error:#}")),
        }
    }
    Ok(rows)
}

fn clients(program: &Program, small: &Path, setting: &mut Setting) -> Result<Vec<Clients>> {
    let server = program.serve(small, WORKERS)?;
    let (rounds, count) = (setting.plan.rounds, CLIENT_COUNTS.len());
    let samples = in_turn("growth, clients", rounds, count, setting, |at| {
        let load = load(visit(&server), CLIENT_COUNTS[at], setting.plan.sample)?;
        Ok(1e6 / load.per_second)
    })?;
    let mut rows = Vec::new();
    for (clients, samples) in CLIENT_COUNTS.into_iter().zip(samples.of) {
        match samples {
            Ok(samples) => {
                rows.push(Clients { clients, microseconds_per_request: Spread::of(samples) });
            }
            Err(error) => setting.leave_out(format!("{clients} clients: {error:#}")),
        }
    }
    Ok(rows)
}

/// Every stage with every size, all in turn.
fn files(setting: &mut Setting) -> Result<Vec<Files>> {
    let sizes = sizes(setting);
    let mut cases = Vec::new();
    for &mib in &sizes {
        let path = setting.place.disk().join(format!("sparse-{mib}"));
        File::create(&path).and_then(|it| it.set_len(mib << 20)).context("make a sparse file")?;
        for program in &setting.programs {
            cases.push((program.name(), mib, program.serve(&path, 1)?));
        }
    }
    // A large file takes long, and it doesn't matter when in the round.
    let rounds = setting.plan.rounds.up_to(if setting.plan.quick { 1 } else { 5 });
    let samples = in_turn("growth, files", rounds, cases.len(), setting, |at| {
        let (_, mib, server) = &cases[at];
        server.forget_peak();
        let (mut seconds, mut times) = (0.0, 0_u32);
        while times == 0 || seconds < setting.plan.sample.as_secs_f64() / 3.0 {
            seconds += discard(server.port(), None, mib << 20)?.seconds;
            times += 1;
        }
        let units = f64::from(times) * (*mib).max(1) as f64;
        Ok((seconds * 1e6 / units, server.usage().peak_kib as f64 / 1024.0))
    })?;
    let mut rows = Vec::new();
    for ((stage, mib, _), samples) in cases.into_iter().zip(samples.of) {
        match samples {
            Ok(samples) => rows.push(Files {
                stage,
                mib,
                microseconds_per_unit: Spread::of(samples.iter().map(|it| it.0)),
                server_peak_mib: Spread::of(samples.iter().map(|it| it.1)).median,
            }),
            Err(error) => setting.leave_out(format!("{stage}, {mib} MiB: {error:#}")),
        }
    }
    rows.sort_by(|a, b| a.stage.cmp(&b.stage));
    for mib in sizes {
        fs::remove_file(setting.place.disk().join(format!("sparse-{mib}")))?;
    }
    Ok(rows)
}

/// A hole is sent from the page cache as well as data is: so it has to fit in there.
fn sizes(setting: &mut Setting) -> Vec<u64> {
    let plan = &setting.plan;
    let times = if plan.quick { TIMES_QUICK } else { TIMES };
    let wanted: Vec<u64> =
        SIZES.into_iter().filter(|&mib| mib << 20 <= times * plan.bytes).collect();
    let room = available_memory() / 2;
    let (fit, too_large): (Vec<u64>, _) = wanted.into_iter().partition(|&mib| mib << 20 <= room);
    for mib in too_large {
        setting.leave_out(format!("a file of {mib} MiB: more than half of the free memory"));
    }
    fit
}

fn visit(server: &Server) -> Visit<'static> {
    Visit { port: server.port(), request: None, says_all: false, bytes: SMALL }
}

/// Of all workers together.
fn pss_kib(server: &Server) -> f64 {
    let of_process = |pid: i32| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        kib(&rollup, "Pss") as f64
    };
    server.family()[1..].iter().copied().map(of_process).sum()
}

impl Growth {
    /// Three tables.
    pub fn text(&self) -> String {
        let stage = &self.stage;
        let mut workers = Grid::new(["workers", "start ms", "PSS KiB/worker", "dispatch µs"]);
        for row in &self.workers {
            workers.row([
                row.workers.to_string(),
                row.start_milliseconds.text(1),
                row.pss_kib_per_worker.text(0),
                row.dispatch_microseconds.text(0),
            ]);
        }
        let mut clients = Grid::new(["clients", "µs/request"]);
        for row in &self.clients {
            clients.row([row.clients.to_string(), row.microseconds_per_request.text(1)]);
        }
        let mut files = Grid::new(["file, to a sink", "MiB", "µs/MiB", "server's peak MiB"]);
        for row in &self.files {
            let unit = if row.mib == 0 { " in all" } else { "" };
            files.row([
                row.stage.clone(),
                row.mib.to_string(),
                format!("{}{unit}", row.microseconds_per_unit.text(0)),
                format!("{:.1}", row.server_peak_mib),
            ]);
        }
        let (workers, clients, files) = (workers.text(), clients.text(), files.text());
        format!("\ngrowth of {stage}\n{workers}\n{clients}\ngrowth of files\n{files}")
    }
}

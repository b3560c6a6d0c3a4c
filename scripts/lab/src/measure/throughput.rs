//! A large file: how fast it travels, and what that costs on either side.
//!
//! It travels from the page cache to nowhere (the sink), to a file in memory and to a file on
//! disk. The sink is a client of the bench itself, which speaks every protocol by dropping all that
//! comes: so it measures the servers. A row says who received.

mod lanes;
mod table;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::measure::Plan;
use crate::measure::calls::{self, Calls};
use crate::measure::peers::Peer;
use crate::measure::place::{Destination, Place, same};
use crate::measure::process::Usage;
use crate::measure::processors::Halves;
use crate::measure::rounds::{Cost, Samples, in_turn};
use crate::measure::setting::Setting;
use crate::measure::statistics::Spread;
use crate::measure::throughput::lanes::{FILE, Lane, lanes, senders};

const GIB: f64 = (1 << 30) as f64;
/// All rows.
#[derive(Deserialize, Serialize)]
pub struct Throughput {
    bytes: u64,
    pub rows: Vec<Row>,
}

/// Who sent to whom, and how that went.
#[derive(Deserialize, Serialize)]
pub struct Row {
    pub sender: String,
    pub is_stage: bool,
    pub receiver: String,
    pub to: Destination,
    /// The processors of the server and of the client.
    #[serde(default)] // older reports have none
    pub nanoseconds_apart: Spread,
    pub gib_per_second: Spread,
    /// Per GiB, in seconds.
    pub server_cpu: Spread,
    /// Per GiB, in seconds.
    pub client_cpu: Spread,
    /// Per GiB.
    pub server_faults: Spread,
    /// Per GiB.
    pub client_faults: Spread,
    /// The most that one process has had.
    server_peak_kib: f64,
    client_peak_kib: f64,
    pub calls_per_gib: Option<Calls>,
    /// How many times faster it is than others, within the same round.
    faster_than: Vec<Ratio>,
    /// Seconds per GiB, round by round.
    rounds: Vec<f64>,
}

#[derive(Deserialize, Serialize)]
struct Ratio {
    other: String,
    times: Spread,
}

/// A round's worth of one lane. All but the memory per GiB.
#[derive(Clone, Copy)]
struct Sample {
    seconds: f64,
    server: Usage,
    client: Usage,
}

impl Cost for Sample {
    fn cost(&self) -> f64 {
        self.seconds
    }
}

/// Measures all lanes, destination after destination.
pub fn measure(setting: &mut Setting) -> Result<Throughput> {
    let file = setting.place.file(FILE, setting.plan.bytes)?;
    let curl = Peer::find("curl", "--version", setting);
    let iperf = Peer::find("iperf3", "--version", setting);
    let (senders, halves) =
        Halves::part(|| senders(&file, curl.is_some(), iperf.as_ref(), setting))?;
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for to in [Destination::Sink, Destination::Memory, Destination::Disk] {
        if to == Destination::Memory && !setting.place.has_memory() {
            continue;
        }
        let lanes = lanes(&senders, to, curl.as_ref(), iperf.as_ref(), setting);
        let what = format!("throughput to {}", to.name());
        let samples = in_turn(&what, setting.plan.rounds, lanes.len(), setting, |at| {
            sample(&lanes[at], &file, &setting.plan, &setting.place)
        })?;
        setting.place.clear(to)?;
        rows.extend(rows_of(&lanes, samples, &mut failed));
    }
    drop(senders);
    drop(halves);
    failed.into_iter().for_each(|line| setting.leave_out(line));
    count_calls(&mut rows, &file, setting)?;
    std::fs::remove_file(&file).context("remove the large file")?;
    Ok(Throughput { bytes: setting.plan.bytes, rows })
}

/// Has the file received a few times in a row. To the sink their median counts, for one can be over
/// in no time, and one can be held up. Of those that make a file the fastest counts: on a virtual
/// machine the first may have to fetch memory from the host, which costs more than the transfer.
fn sample(lane: &Lane<'_>, file: &Path, plan: &Plan, place: &Place) -> Result<Sample> {
    let is_sink = lane.to == Destination::Sink;
    let wanted = if is_sink { plan.sample.as_secs_f64() } else { 0.0 };
    let (mut samples, mut seconds) = (Vec::new(), 0.0);
    while samples.len() < plan.in_a_row || seconds < wanted {
        let sample = transfer(lane, file, plan, place)?;
        seconds += sample.seconds * plan.bytes as f64 / GIB;
        samples.push(sample);
    }
    let mut chosen =
        samples.iter().copied().min_by(|a, b| a.seconds.total_cmp(&b.seconds)).context("none")?;
    if is_sink {
        let median = |of: fn(&Sample) -> f64| Spread::of(samples.iter().map(of)).median;
        chosen.seconds = median(|it| it.seconds);
        chosen.server.cpu = median(|it| it.server.cpu);
        chosen.client.cpu = median(|it| it.client.cpu);
    }
    Ok(chosen)
}

fn transfer(lane: &Lane<'_>, file: &Path, plan: &Plan, place: &Place) -> Result<Sample> {
    let gib = plan.bytes as f64 / GIB;
    lane.server.forget_peak();
    place.clear(lane.to)?;
    let before = lane.server.usage();
    let mut client = (lane.receive)().with_context(|| lane.server.state())?;
    let mut server = lane.server.usage();
    if let Some(out) = place.out(lane.to)
        && !lane.checked.replace(true)
    {
        check(file, &out)?;
    }
    server.cpu = (server.cpu - before.cpu) / gib;
    server.page_faults = server.page_faults.saturating_sub(before.page_faults);
    for usage in [&mut server, &mut client] {
        usage.page_faults = (usage.page_faults as f64 / gib) as u64;
    }
    client.cpu /= gib;
    Ok(Sample { seconds: client.seconds / gib, server, client })
}

/// A transfer that loses bytes can be as fast as it likes.
fn check(file: &Path, out: &Path) -> Result<()> {
    let received = out.read_dir()?.next().context("nothing was saved")??.path();
    ensure!(same(file, &received)?, "what was received isn't what was sent");
    Ok(())
}

fn rows_of(lanes: &[Lane<'_>], samples: Samples<Sample>, failed: &mut Vec<String>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (lane, of_lane) in lanes.iter().zip(samples.of) {
        match of_lane {
            Ok(of_lane) => rows.push(row(lane, &of_lane, samples.apart)),
            Err(error) => {
                let (sender, to) = (&lane.sender, lane.to.name());
                failed.push(format!("{sender} -> {} to {to}: {error:#}", lane.receiver));
            }
        }
    }
    // Stages are compared with the first of them and with everybody who is no stage.
    let first = rows.iter().position(|row| row.is_stage);
    let ratios = |this: &Row| {
        let others = rows.iter().enumerate().filter(|(at, it)| !it.is_stage || Some(*at) == first);
        let ratio = |(_, other): (usize, &Row)| Ratio {
            other: other.name(),
            times: Spread::faster(&this.rounds, &other.rounds),
        };
        others.filter(|(_, it)| it.name() != this.name()).map(ratio).collect::<Vec<_>>()
    };
    let ratios: Vec<_> =
        rows.iter().map(|row| if row.is_stage { ratios(row) } else { Vec::new() }).collect();
    for (row, ratios) in rows.iter_mut().zip(ratios) {
        row.faster_than = ratios;
    }
    rows
}

fn row(lane: &Lane<'_>, samples: &[Sample], apart: Spread) -> Row {
    let of = |value: fn(&Sample) -> f64| Spread::of(samples.iter().map(value));
    Row {
        sender: lane.sender.clone(),
        is_stage: lane.is_stage,
        receiver: lane.receiver.clone(),
        to: lane.to,
        nanoseconds_apart: apart,
        gib_per_second: of(|it| 1.0 / it.seconds),
        server_cpu: of(|it| it.server.cpu),
        client_cpu: of(|it| it.client.cpu),
        server_faults: of(|it| it.server.page_faults as f64),
        client_faults: of(|it| it.client.page_faults as f64),
        server_peak_kib: of(|it| it.server.peak_kib as f64).median,
        client_peak_kib: of(|it| it.client.peak_kib as f64).median,
        calls_per_gib: None,
        faster_than: Vec::new(),
        rounds: samples.iter().map(|it| it.seconds).collect(),
    }
}

fn count_calls(rows: &mut [Row], file: &Path, setting: &mut Setting) -> Result<()> {
    if !calls::can_be_counted() {
        setting.leave_out("system calls: strace is not installed, or may not trace".to_owned());
        return Ok(());
    }
    for program in setting.programs.clone() {
        let mut own = rows.iter_mut().filter(|it| it.sender == program.name()).peekable();
        if own.peek().is_none() {
            continue; // it was left out
        }
        setting.leave.check()?;
        match calls::count(&program, file, setting) {
            Ok(calls) => own
                .filter(|it| it.to != Destination::Sink)
                .for_each(|row| row.calls_per_gib = Some(calls)),
            Err(error) => setting.leave_out(format!("calls of {}: {error:#}", program.name())),
        }
    }
    Ok(())
}

impl Destination {
    /// As it stands in a heading.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sink => "a sink",
            Self::Memory => "a file in memory",
            Self::Disk => "a file on disk",
        }
    }
}

impl Row {
    /// `nginx 1.22.1 + curl 7.88.1`
    pub fn name(&self) -> String {
        format!("{} + {}", self.sender, self.receiver)
    }
}

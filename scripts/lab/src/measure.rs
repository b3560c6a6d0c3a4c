//! `cargo lab bench`: how fast the stages are on this machine, beside what else there is.
//!
//! | part | asks | file |
//! | --- | --- | --- |
//! | throughput | how fast does a large file travel, and what does it cost? | [`throughput`] |
//! | dispatch | what does it cost to bring a client to a worker? | [`dispatch`] |
//! | small | how many small files a second, and how long does one take? | [`small`] |
//! | primitives | what does a single call cost that the stages are made of? | [`primitives`] |
//! | growth | does a unit cost more when there are many? | [`growth`] |
//!
//! Rules: a machine is never quiet, so a number alone says little. Everything that is compared is
//! measured in turn, A B C, B C A, …, and compared within the round ([`rounds`], [`statistics`]),
//! and with what was measured on processors that were as far apart ([`distance`]).
//! What can't be measured here is left out with a line that says why.

mod calls;
mod charts;
mod discard;
mod dispatch;
mod distance;
mod grid;
mod growth;
mod load;
mod machine;
pub mod part;
mod peers;
mod place;
mod primitives;
mod process;
mod processors;
mod rounds;
mod setting;
mod small;
mod statistics;
mod tables;
mod throughput;

use std::fs::{self, File};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::compile::Tree;
use crate::measure::machine::Machine;
use crate::measure::rounds::Rounds;
use crate::measure::setting::{Program, Setting};
use crate::repo::{Repo, Stage};
use crate::screen::show;

/// The stages that send a file.
const SENDERS: RangeInclusive<&str> = "04"..="08";

/// What the JSON is, for those who read it.
const SCHEMA: &str = "process-pool-lab/bench/v1";

/// Measure the stages on this machine, beside other servers
///
/// Everything is measured in turn, round by round, and compared within the round: look at the
/// ratios, and at how far the rounds lie apart. All of it takes ten minutes or more, the noisier
/// the machine the longer: name a part, or take --quick.
///
/// "Processors 52 ns apart": so long a cache line takes from that of the servers to that of the
/// clients and back. A virtual machine's are moved now and then; then only what was measured at the
/// same distance is compared.
#[derive(clap::Args)]
pub struct Args {
    /// The stages to measure, 04 to 08 [default: all of them]
    #[arg(value_name = "STAGE")]
    stages: Vec<String>,
    /// Take a smaller file and fewer rounds: a rough picture in less than a minute
    #[arg(long)]
    quick: bool,
    /// Measure only this part; can be given more than once
    #[arg(long = "part", value_enum, value_name = "PART")]
    parts: Vec<Part>,
    /// How many rounds, after one to warm up; up to three times as many while they differ too much
    /// for a ratio to be trusted, but not with --quick [default: 7, or 3 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// The size of the large file in MiB [default: 1024, or 128 with --quick]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    size: Option<u64>,
    /// Write all the numbers to FILE as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw charts (SVG) into the directory DIR
    #[arg(long, value_name = "DIR")]
    charts: Option<PathBuf>,
    /// Measure the debug builds, which are there anyway: to try out the tool itself
    #[arg(long, hide = true)]
    debug_build: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Throughput,
    Dispatch,
    Small,
    Primitives,
    Growth,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Plan {
    quick: bool,
    #[serde(flatten)]
    rounds: Rounds,
    /// Of the large file.
    bytes: u64,
    /// A sample of the throughput is at least so many transfers.
    in_a_row: usize,
    /// A sample takes at least so long: what is shorter is repeated.
    #[serde(skip)]
    sample: Duration,
}

impl Plan {
    fn of(args: &Args) -> Self {
        let (rounds, mib, sample, in_a_row) =
            if args.quick { (3, 128, 100, 2) } else { (7, 1024, 600, 3) };
        let least = args.rounds.map_or(rounds, usize::from);
        let most = if args.quick { least } else { 3 * least };
        Self {
            quick: args.quick,
            rounds: Rounds { least, most },
            bytes: args.size.unwrap_or(mib) << 20,
            in_a_row,
            sample: Duration::from_millis(sample),
        }
    }
}

/// All that was measured.
#[derive(Deserialize, Serialize)]
pub struct Report {
    schema: String,
    date: String,
    machine: Machine,
    plan: Plan,
    throughput: Option<throughput::Throughput>,
    dispatch: Option<dispatch::Dispatch>,
    small_files: Option<small::SmallFiles>,
    primitives: Option<primitives::Primitives>,
    growth: Option<growth::Growth>,
    /// What wasn't measured, and why.
    left_out: Vec<String>,
}

/// Measures, and prints part after part.
pub fn run(args: &Args) -> Result<ExitCode> {
    let repo = Repo::here()?;
    let plan = Plan::of(args);
    let json = args.json.as_deref().map(create).transpose()?; // before the work, not after it
    if let Some(dir) = &args.charts {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    let (programs, unbuilt) = build(&repo, &stages(&repo, &args.stages)?, args.debug_build)?;
    let mut setting = Setting::new(plan, programs, unbuilt)?;
    let mut report = Report {
        schema: SCHEMA.to_owned(),
        date: clock::now(),
        machine: Machine::this(&setting.place),
        plan,
        throughput: None,
        dispatch: None,
        small_files: None,
        primitives: None,
        growth: None,
        left_out: Vec::new(),
    };
    show(&heading(&report, args.debug_build))?;
    let wanted = |part| args.parts.is_empty() || args.parts.contains(&part);
    if wanted(Part::Throughput) {
        let part = throughput::measure(&mut setting)?;
        show(&part.text())?;
        report.throughput = Some(part);
    }
    if wanted(Part::Dispatch) {
        let part = dispatch::measure(&repo, &mut setting)?;
        show(&part.text())?;
        report.dispatch = Some(part);
    }
    if wanted(Part::Small) {
        let part = small::measure(&mut setting)?;
        show(&part.text())?;
        report.small_files = Some(part);
    }
    if wanted(Part::Primitives) {
        let part = primitives::measure(&setting)?;
        show(&part.text())?;
        report.primitives = Some(part);
    }
    if wanted(Part::Growth) {
        let part = growth::measure(&mut setting)?;
        show(&part.text())?;
        report.growth = Some(part);
    }
    report.left_out = setting.left_out();
    for line in &report.left_out {
        show(&format!("left out: {line}\n"))?;
    }
    if let Some(file) = json {
        serde_json::to_writer_pretty(file, &report).context("write the JSON")?;
    }
    if let Some(dir) = &args.charts {
        for chart in charts::draw(&report, dir)? {
            show(&format!("chart: {}\n", chart.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| path.display().to_string())
}

/// The stages that are asked for: all that send a file unless some are named.
fn stages(repo: &Repo, named: &[String]) -> Result<Vec<Stage>> {
    let mut stages = match named {
        [] => repo.stages()?,
        named => named.iter().map(|it| repo.stage(it)).collect::<Result<_>>()?,
    };
    let sends = |it: &Stage| SENDERS.contains(&it.number.as_str());
    if let Some(other) = stages.iter().find(|it| !sends(it))
        && !named.is_empty()
    {
        let (first, last) = (SENDERS.start(), SENDERS.end());
        bail!("stage {} sends no file; those that do are {first} to {last}", other.number);
    }
    stages.retain(sends);
    stages.sort_by(|a, b| a.number.cmp(&b.number));
    stages.dedup();
    Ok(stages)
}

/// Builds the programs. One that can't be built is left out; without any there is nothing to do.
fn build(repo: &Repo, stages: &[Stage], debug: bool) -> Result<(Vec<Program>, Vec<String>)> {
    let tree = Tree::here(repo);
    let (mut programs, mut unbuilt) = (Vec::new(), Vec::new());
    for stage in stages {
        let built = if debug { tree.program(stage) } else { tree.release(stage) }?;
        match built {
            Ok(path) => programs.push(Program { stage: stage.clone(), path }),
            Err(_) => unbuilt.push(format!(
                "stage {}: it doesn't build: cargo build --release -p {}",
                stage.number,
                stage.package()
            )),
        }
    }
    if programs.is_empty() {
        bail!("there is nothing to measure: {}", unbuilt.join("; "));
    }
    Ok((programs, unbuilt))
}

fn heading(report: &Report, debug: bool) -> String {
    let Plan { quick, rounds, bytes, .. } = report.plan;
    let build =
        if debug { "DEBUG builds, which say nothing about speed" } else { "release builds" };
    let quick = if quick { " QUICK: a rough picture." } else { "" };
    let machine = report.machine.text();
    let mib = bytes >> 20;
    format!(
        "{machine}\n{build}; rounds: {}, after one to warm up; large file: {mib} MiB.{quick}\n\
         Each number is the median of the rounds; half of them lie as near to it as ± says.\n",
        rounds.text()
    )
}

//! How long a test may take: what the reference took, times a factor, with a floor.
//!
//! `tests/times.toml` holds the times of the reference, test by test, and what a small fixed piece
//! of work took on the same machine, the [`probe`]. Every check begins with the same piece of work,
//! so a slow laptop, or a busy one, gets more time. `cargo lab calibrate` measures the reference
//! anew on this machine: into `.lab/times.toml`, which is preferred, or with `--record` into
//! `tests/times.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::compile::{BuildError, Tree};
use crate::repo::{Repo, Stage};
use crate::rubric::Rubric;
use crate::schedule;
use crate::supervise::Verdict;
use crate::workbench::Workbench;

/// No test has less: a right program may be written quite differently.
const FLOOR: f64 = 15.0;

/// So many times what the reference took.
const FACTOR: f64 = 5.0;

/// What a test without a recorded time is taken to need.
const UNKNOWN: f64 = 3.0;

/// How long a test waits, on the machine of the recorded times, for something that should happen
/// at once.
const PATIENCE: f64 = 10.0;

/// The times of the reference on one machine, in seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Times {
    /// What the probe took.
    probe: f64,
    /// By number of the stage, then by name of the test.
    #[serde(default)]
    stage: BTreeMap<String, BTreeMap<String, f64>>,
}

/// The times, and how much slower this machine is now.
#[derive(Clone, Debug)]
pub struct Pace {
    times: Times,
    slower: f64,
    /// When everything has to be over, whatever it needs.
    pub until: Option<Instant>,
    /// The patience of a test on the machine of the recorded times, in seconds.
    pub usual_patience: f64,
}

impl Pace {
    /// Looks how fast this machine is now.
    pub fn measure(repo: &Repo, until: Option<Instant>) -> Result<Self> {
        let times = Times::load(repo)?;
        let slower = if times.probe > 0.0 { probe()? / times.probe } else { 1.0 };
        Ok(Self { times, slower: slower.clamp(1.0, 8.0), until, usual_patience: PATIENCE })
    }

    /// Is the time for all of it up?
    pub fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// How long a test may wait for something that should happen at once, in seconds.
    pub fn patience(&self) -> u64 {
        (self.usual_patience * self.slower).min(60.0).round() as u64
    }

    /// When a test is ended by force. It has lost its patience by then, and said with what.
    pub fn deadline(&self, stage: &Stage, test: &str) -> Duration {
        let recorded = self.times.stage.get(&stage.number).and_then(|tests| tests.get(test));
        let reference = recorded.copied().unwrap_or(UNKNOWN);
        let seconds = (reference * FACTOR).max(FLOOR) * self.slower + self.patience() as f64;
        Duration::from_secs_f64(seconds.round())
    }
}

impl Times {
    fn load(repo: &Repo) -> Result<Self> {
        for path in [repo.state().join("times.toml"), repo.path("tests/times.toml")] {
            if path.exists() {
                let text = fs::read_to_string(&path).with_context(|| format!("{path:?}"))?;
                return toml::from_str(&text).with_context(|| format!("{path:?}"));
            }
        }
        Ok(Self::default())
    }
}

/// What stages do all the time, without a stage: start programs, and wake a process up by a byte.
/// Returns the seconds it took.
fn probe() -> Result<f64> {
    const PROGRAMS: usize = 60;
    const BYTES: usize = 3000;
    let begin = Instant::now();
    for _ in 0..PROGRAMS {
        Command::new("true").status().context("run true")?;
    }
    let mut echo = Command::new("cat");
    let mut echo = echo.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("run cat")?;
    if let (Some(to), Some(from)) = (&mut echo.stdin, &mut echo.stdout) {
        for _ in 0..BYTES {
            to.write_all(b"x").context("write to cat")?;
            from.read_exact(&mut [0]).context("read from cat")?;
        }
    }
    echo.wait().context("wait for cat")?;
    Ok(begin.elapsed().as_secs_f64())
}

/// `cargo lab calibrate [NN…] [--record]`
#[derive(clap::Args)]
pub struct Args {
    /// The stages; all, if none is named
    stages: Vec<String>,
    /// Write tests/times.toml, not .lab/times.toml
    #[arg(long)]
    record: bool,
}

/// Measures the reference on this machine.
pub fn run(args: &Args) -> Result<ExitCode> {
    let repo = Repo::here()?;
    if !repo.is_reference() {
        bail!("there is no reference to measure: this is an export");
    }
    let rubric = Rubric::load(&repo)?;
    let path = match args.record {
        true => repo.path("tests/times.toml"),
        false => repo.state().join("times.toml"),
    };
    let wanted = args.stages.iter().map(|it| repo.stage(it)).collect::<Result<Vec<_>>>()?;
    let mut times = Times::load(&repo)?;
    for stage in repo.stages()? {
        if wanted.is_empty() || wanted.contains(&stage) {
            let measured = measure(&repo, &rubric, &stage)?;
            println!("{} {}: {} tests", stage.number, stage.name, measured.len());
            times.stage.insert(stage.number, measured);
        }
    }
    times.probe = probe()?.min(probe()?).min(probe()?);
    fs::create_dir_all(repo.state()).context("create .lab")?;
    let text = format!(
        "# Seconds that the reference took on one machine, and a fixed piece of work (the probe).\n\
         # Made by `cargo lab calibrate`; the deadlines of the checks are made from it.\n\n{}",
        toml::to_string(&times)?
    );
    fs::write(&path, text).with_context(|| format!("write {path:?}"))?;
    Ok(ExitCode::SUCCESS)
}

/// The times of the tests of a stage, run one by one.
fn measure(repo: &Repo, rubric: &Rubric, stage: &Stage) -> Result<BTreeMap<String, f64>> {
    let pace = Pace { times: Times::default(), slower: 4.0, until: None, usual_patience: PATIENCE };
    let tree = Tree::here(repo);
    let workbench = match Workbench::set_up(repo, &tree, stage, &pace, None)? {
        Ok(workbench) => workbench,
        Err(BuildError(said)) => bail!("stage {} doesn't build:\n{said}", stage.number),
    };
    let checks = &rubric.stage(stage)?.check;
    let tests: Vec<&String> = checks.iter().flat_map(|check| &check.tests).collect();
    let places = tests.iter().map(|test| workbench.place(test)).collect::<Result<Vec<_>>>()?;
    let jobs = places.iter().map(|place| workbench.job(place)).collect();
    let mut measured = BTreeMap::new();
    schedule::run(jobs, 1, &mut |at: usize, verdict: Verdict| {
        let seconds = (verdict.seconds * 100.0).round() / 100.0;
        measured.insert(tests[at].clone(), seconds);
        match workbench.outcome(&places[at], verdict)?.trouble {
            Some(trouble) => bail!("the reference fails {}: {}", tests[at], trouble.saw),
            None => Ok(()),
        }
    })?;
    Ok(measured)
}

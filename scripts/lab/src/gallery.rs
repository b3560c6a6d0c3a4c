//! `cargo lab gallery`: checks the checks.
//!
//! A grader is a program, and can be wrong in both directions. So every stage has programs whose
//! score is known: the reference and the right ones get all points, a wrong one is caught by the
//! check it names, and an exercise in which nothing is written gets what the rubric says, its floor.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};

use crate::check::{self, Options};
use crate::check_command::default_jobs;
use crate::compile::Tree;
use crate::region;
use crate::repo::{Repo, Stage};
use crate::result::{CheckResult, StageResult, Status};
use crate::rubric::Rubric;
use crate::schedule::{self, Job};
use crate::slot::Slot;
use crate::supervise::{End, Verdict};
use crate::variant::{self, Variant};

/// No stage takes so long, not even in full.
const DEADLINE: Duration = Duration::from_secs(4 * 3600);

/// Half of the wrong programs are waited for in vain: so many seconds are enough.
const IN_VAIN: u32 = 4;

/// Arguments of `cargo lab gallery`.
#[derive(clap::Args)]
pub struct Args {
    /// The stage (all by default)
    #[arg(value_name = "NN")]
    stage: Option<String>,
    /// Run every check on the wrong programs too, and the right ones once more on a busy machine
    #[arg(long)]
    full: bool,
}

/// Runs all programs and prints a table; exit status 1 when one of them isn't judged as it must be.
pub fn run(args: &Args) -> Result<ExitCode> {
    let reference = Repo::here()?;
    ensure!(reference.is_reference(), "the gallery is in the teacher's checkout, not in an export");
    match &args.stage {
        Some(number) => one_stage(reference, number, args.full),
        None => all_stages(&reference, args.full),
    }
}

/// Each stage in a process of its own, four at a time: most of a check is waiting. The last ones,
/// which take longest, first: none of them is left to run alone at the end.
fn all_stages(reference: &Repo, full: bool) -> Result<ExitCode> {
    let mut jobs = Vec::new();
    for stage in reference.stages()?.into_iter().rev() {
        let mut job = Job::new(env::current_exe().context("this program")?, DEADLINE);
        job.command.extend(["gallery", &stage.number].map(Into::into));
        job.command.extend(full.then(|| "--full".into()));
        job.dir = reference.root().to_owned();
        job.processes = usize::MAX; // bombs below it are found one by one
        jobs.push(job);
    }
    let mut wrong = String::new();
    schedule::run(jobs, if full { 1 } else { 4 }, &mut |_, verdict: Verdict| {
        print!("{}{}", verdict.stdout, verdict.stderr);
        if verdict.end != End::Exited(0) {
            let (rows, errors) = (wrong_rows(&verdict.stdout), &verdict.stderr);
            wrong += &format!("{rows}{errors}  the run ended: {:?}\n", verdict.end);
        }
        Ok(())
    })?;
    if wrong.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("not judged as they must be, from the tables above:\n{wrong}");
    Ok(ExitCode::FAILURE)
}

/// Of a stage's table the headline, and what is not as it must be, with its explanation: at the
/// end of a long run this is what a reader wants to see.
fn wrong_rows(table: &str) -> String {
    let is_right = |line: &str| line.starts_with("  ok ");
    table.lines().filter(|line| !is_right(line)).map(|line| format!("{line}\n")).collect()
}

fn one_stage(reference: Repo, number: &str, full: bool) -> Result<ExitCode> {
    let stage = reference.stage(number)?;
    let (folder, _lock) = free_folder(&reference)?;
    let slot = Slot::new(&reference, &folder)?;
    let rubric = Rubric::load(&reference)?;
    let mut curator = Curator { reference, slot, rubric, full, wrong_verdicts: 0 };
    curator.stage(&stage)?;
    match curator.wrong_verdicts {
        0 => Ok(ExitCode::SUCCESS),
        count => {
            println!("{count} of these programs were not judged as they must be");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// A folder to build in that no other run is using. It is kept, for the next run builds faster then.
fn free_folder(reference: &Repo) -> Result<(PathBuf, Flock<File>)> {
    for number in 0..16 {
        let folder = reference.path(format!("target/lab/gallery/{number}"));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let lock = File::create(folder.join(".lock")).context("a lock")?;
        if let Ok(lock) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            return Ok((folder, lock));
        }
    }
    bail!("16 galleries are running already")
}

struct Curator {
    reference: Repo,
    slot: Slot,
    rubric: Rubric,
    full: bool,
    wrong_verdicts: usize,
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

impl Curator {
    fn stage(&mut self, stage: &Stage) -> Result<()> {
        println!("{} {}", stage.number, stage.name);
        self.rubric.covers(stage, &tests_of(&self.reference, stage)?)?;
        self.gets("reference", stage, &Files::new(), 100)?;
        let floor = self.rubric.stage(stage)?.floor;
        self.gets("nothing written", stage, &self.skeleton()?, floor)?;
        for variant in variant::of_stage(&self.reference, stage)? {
            let files = variant.files(&self.reference)?;
            match &variant.caught_by {
                Some(id) => self.is_caught(&variant, stage, &files, id)?,
                None => self.is_right(&variant.name, stage, &files)?,
            }
        }
        Ok(())
    }

    /// All files with regions, blank.
    fn skeleton(&self) -> Result<Files> {
        let mut files = Files::new();
        for file in region::files(&self.reference)? {
            let text = fs::read_to_string(self.reference.path(&file))?;
            files.insert(file.clone(), region::blank(&file, &text, &|_| false)?.into_bytes());
        }
        Ok(files)
    }

    fn check(&self, stage: &Stage, files: &Files, options: Options) -> Result<StageResult> {
        self.slot.put(files)?;
        let tree = Tree::at(self.slot.repo().root())?;
        let options = Options { jobs: default_jobs(), ..options };
        check::stage(&self.reference, &tree, stage, &options, &mut |_| {})
    }

    fn is_right(&mut self, name: &str, stage: &Stage, files: &Files) -> Result<()> {
        self.gets(name, stage, files, 100)?;
        if self.full {
            let _load = Load::start()?;
            self.gets(&format!("{name}, machine busy"), stage, files, 100)?;
        }
        Ok(())
    }

    fn gets(&mut self, name: &str, stage: &Stage, files: &Files, score: u32) -> Result<()> {
        let begin = Instant::now();
        let result = self.check(stage, files, Options::default())?;
        let right = result.score == score && result.max_score == 100;
        let verdict = format!("{}/{}", result.score, result.max_score);
        let wanted = if right { String::new() } else { format!("and not the {score} it must get") };
        self.row(name, &verdict, right, &wanted, begin);
        if !right {
            for check in result.checks.iter().filter(|check| check.status != Status::Ok) {
                explain(check);
            }
        }
        Ok(())
    }

    fn is_caught(
        &mut self,
        variant: &Variant,
        stage: &Stage,
        files: &Files,
        id: &str,
    ) -> Result<()> {
        let begin = Instant::now();
        let only = (!self.full).then(|| id.to_owned());
        let options = Options { only, patience: Some(IN_VAIN), ..Options::default() };
        let result = self.check(stage, files, options)?;
        let checks = &result.checks;
        let named = checks.iter().find(|check| check.id == id);
        let named = named.with_context(|| format!("{}: no check {id}", variant.name))?;
        let caught = matches!(named.status, Status::Fail | Status::Timeout | Status::Crash);
        let others = checks.iter().filter(|check| check.id != id && check.status != Status::Ok);
        let others: Vec<_> = others.map(|check| check.id.as_str()).collect();
        let note =
            if others.is_empty() { String::new() } else { format!("also {}", others.join(", ")) };
        self.row(&variant.name, &format!("{id} {:?}", named.status), caught, &note, begin);
        if !caught {
            explain(named);
        }
        Ok(())
    }

    fn row(&mut self, name: &str, verdict: &str, right: bool, note: &str, begin: Instant) {
        let mark = if right { "ok   " } else { "WRONG" };
        let seconds = begin.elapsed().as_secs_f64();
        println!("  {mark} {name:44} {verdict:32} {seconds:5.1} s  {note}");
        self.wrong_verdicts += usize::from(!right);
    }
}

/// The names of all tests of a stage.
fn tests_of(reference: &Repo, stage: &Stage) -> Result<Vec<String>> {
    let mut tests = Command::new(Tree::here(reference).tests(stage)?);
    let output = tests.args(["--list", "--format=terse"]).output().context("list the tests")?;
    let list = String::from_utf8(output.stdout).context("list the tests")?;
    Ok(list.lines().filter_map(|line| Some(line.strip_suffix(": test")?.to_owned())).collect())
}

fn explain(check: &CheckResult) {
    if let Some(failure) = &check.failure {
        println!("          {} {:?}: {}: {}", check.id, check.status, failure.test, failure.saw);
    }
}

/// A busy loop for each core, until it is dropped.
struct Load(Vec<Child>);

impl Load {
    fn start() -> Result<Self> {
        let cores = available_parallelism().map_or(1, usize::from);
        let mut load = Self(Vec::new());
        for _ in 0..cores {
            let mut busy = Command::new("sh");
            busy.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
            load.0.push(busy.spawn().context("sh")?);
        }
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for busy in &mut self.0 {
            let _ = busy.kill();
            let _ = busy.wait();
        }
    }
}

//! `cargo lab grade`: grades a class unattended.
//!
//! Each submission is graded by a process of its own, this program with `--one`, under a
//! supervisor: what goes wrong with one costs the others nothing. Its results are on its shelf,
//! `DIR/NAME`; a run that was interrupted goes on where it was when the same command is given
//! again, for what is on a shelf is used as long as neither submission nor checks have changed.
//!
//! | module | answers |
//! | --- | --- |
//! | [`one`] | grade one submission |
//! | [`desk`] | where it is built |
//! | [`shelf`] | where its results are |

mod desk;
mod one;
mod shelf;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::compile::Tree;
use crate::repo::{Repo, Stage};
use crate::report::{Format, Outcome, Row, csv, html, plain, verdict};
use crate::result::StageResult;
use crate::rubric::Rubric;
use crate::rustc;
use crate::sandbox::Sandbox;
use crate::schedule::{self, Interrupted, Job};
use crate::submission::{self, Submission, Taken};
use crate::supervise::{End, Verdict};
use desk::Desk;
use shelf::Shelf;

/// How long a submission may take in all. Its build and its checks have deadlines of their own.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Grade a folder of submissions, and write the reports
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A folder that holds a folder, a .tar.gz or a .zip for each submission
    submissions: PathBuf,
    /// The stage
    #[arg(long, value_name = "NN")]
    step: String,
    /// Where the results go: class.csv, class.html, and a folder for each submission
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many submissions are graded at once [default: half as many as there are processors]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Write each result in this form, too
    #[arg(long, value_name = "FORMAT")]
    format: Vec<Format>,
    /// Grade all of them anew
    #[arg(long)]
    fresh: bool,
    /// SUBMISSIONS is one submission; its results go right into DIR
    #[arg(long)]
    one: bool,
    /// Give up the checks that aren't over so many seconds after the start
    #[arg(long, value_name = "SECONDS")]
    budget: Option<u64>,
    /// What the program of a submission mustn't see either
    #[arg(long, hide = true)]
    unseen: Vec<PathBuf>,
}

/// Grades. The exit status is 0 whatever the scores, and 1 if one couldn't be graded.
pub fn run(args: &Args) -> Result<ExitCode> {
    let repo = Repo::here()?;
    let stage = repo.stage(&args.step)?;
    args.format.iter().try_for_each(|format| format.require())?;
    if !args.one {
        return class(&repo, &stage, args);
    }
    let submission = Submission::at(&args.submissions)?;
    let submission = submission
        .with_context(|| format!("{} is no folder, .tar.gz or .zip", args.submissions.display()))?;
    let (result, was_there) = one::grade(&repo, &stage, args, &submission)?;
    let before = if was_there { "  (graded before)" } else { "" };
    println!("{}{before}", line(&plain(&submission.name), &result));
    Ok(ExitCode::SUCCESS)
}

fn line(name: &str, result: &StageResult) -> String {
    let StageResult { score, max_score, seconds, .. } = result;
    format!("{name:<24} {score:>3}/{max_score}  {seconds:5.1} s  {}", verdict(result))
}

fn class(repo: &Repo, stage: &Stage, args: &Args) -> Result<ExitCode> {
    let (submissions, others) = submission::list(&args.submissions)?;
    if submissions.is_empty() {
        bail!("{} holds no folder, no .tar.gz and no .zip", args.submissions.display());
    }
    for name in others {
        eprintln!("{name:?} is no folder, .tar.gz or .zip: passed over");
    }
    if let Some(name) = submissions.iter().map(|it| &it.name).find(|it| it.starts_with("class.")) {
        bail!("a submission can't be called {name}: the table of the class is");
    }
    fs::create_dir_all(&args.out).with_context(|| format!("{}", args.out.display()))?;
    let at_once = args.jobs.unwrap_or_else(half_of_the_processors).max(1);
    tell_what_is_missing(&args.sandbox(repo));
    prepare(repo, stage, at_once.min(submissions.len()))?;
    let rows = grade_all(args, &submissions, at_once)?;
    let rubric = Rubric::load(repo)?;
    let checks = &rubric.stage(stage)?.check;
    shelf::write(&args.out.join("class.csv"), &csv::class(checks, &rows)?)?;
    shelf::write(&args.out.join("class.html"), &html::class(stage, checks, &rows))?;
    let failed = rows.iter().filter(|row| matches!(row.outcome, Outcome::Error(_))).count();
    println!("{} submissions: {}", rows.len(), args.out.join("class.html").display());
    if failed > 0 {
        eprintln!("{failed} of them could not be graded; the same command tries them again");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn half_of_the_processors() -> usize {
    thread::available_parallelism().map_or(1, |count| count.get() / 2)
}

fn tell_what_is_missing(sandbox: &Sandbox) {
    for missing in sandbox.missing.iter().map(String::as_str).chain(rustc::missing()) {
        eprintln!("note: {missing}");
    }
}

/// Builds the tests and, in the desks that will be used, the dependencies.
fn prepare(repo: &Repo, stage: &Stage, desks: usize) -> Result<()> {
    eprintln!("building the tests and the dependencies");
    Tree::here(repo).tests(stage)?;
    let desk = Desk::claim(repo)?;
    desk.fill(&one::hand_out(repo, stage)?, &Taken::default())?;
    if let Err(error) = desk.tree(None)?.program(stage)? {
        bail!("what was handed out doesn't build:\n{}", error.0);
    }
    desk.share(repo, desks)
}

fn grade_all(args: &Args, submissions: &[Submission], at_once: usize) -> Result<Vec<Row>> {
    let jobs: Result<Vec<Job>> = submissions.iter().map(|it| args.job(it)).collect();
    let mut rows: Vec<Option<Row>> = vec![None; submissions.len()];
    let mut count = 0;
    let run = schedule::run(jobs?, at_once, &mut |index: usize, verdict: Verdict| {
        let submission = &submissions[index];
        let outcome = outcome(&args.out.join(&submission.name), &verdict);
        count += 1;
        let said = match &outcome {
            Outcome::Graded(_) => verdict.stdout.trim_end().to_owned(),
            Outcome::Error(why) => format!("{}: {}", plain(&submission.name), plain(why)),
        };
        let _ = writeln!(std::io::stdout(), "{count:>4}/{}  {said}", submissions.len());
        rows[index] = Some(Row { name: submission.name.clone(), outcome });
        Ok(())
    });
    if run.as_ref().is_err_and(|error| error.is::<Interrupted>()) {
        eprintln!("what has been graded is kept: the same command goes on from there");
    }
    run?;
    Ok(rows.into_iter().flatten().collect())
}

/// What the process that graded a submission has left.
fn outcome(shelf: &Path, verdict: &Verdict) -> Outcome {
    let why = match &verdict.end {
        End::Exited(0) => match Shelf::at(shelf).ok().and_then(|shelf| shelf.any_result()) {
            Some(result) => return Outcome::Graded(result),
            None => "it has left no result".to_owned(),
        },
        End::Exited(_) => verdict.stderr.trim().to_owned(),
        End::Signal(signal) => format!("the process that graded it was ended by signal {signal}"),
        End::Deadline => format!("not graded within {} minutes", LIMIT.as_secs() / 60),
        End::Flood => "it was filling the disk".to_owned(),
        End::Bomb(count) => format!("grading it came to {count} processes"),
        End::Lost(why) => why.clone(),
    };
    Outcome::Error(why)
}

impl Args {
    /// What a program under test mustn't see: the answers, and the work and results of others.
    fn sandbox(&self, repo: &Repo) -> Sandbox {
        let unseen = self.unseen.iter().map(PathBuf::as_path);
        let hidden = unseen.chain([repo.root(), &self.submissions, &self.out]);
        Sandbox::new(hidden.filter_map(|dir| dir.canonicalize().ok()).collect())
    }

    /// This program, to grade one submission.
    fn job(&self, submission: &Submission) -> Result<Job> {
        let mut job = Job::new("/proc/self/exe", LIMIT);
        let mut add = |arg: &dyn AsRef<std::ffi::OsStr>| job.command.push(arg.as_ref().to_owned());
        add(&"grade");
        add(&"--one");
        add(&submission.path());
        add(&"--step");
        add(&self.step);
        add(&"--out");
        add(&self.out.join(&submission.name));
        for unseen in [&self.submissions, &self.out] {
            add(&"--unseen");
            add(unseen);
        }
        for format in &self.format {
            let value = format.to_possible_value().context("a format without a name")?;
            add(&OsString::from(format!("--format={}", value.get_name())));
        }
        if self.fresh {
            add(&"--fresh");
        }
        job.processes = usize::MAX; // bombs below it are found one by one
        job.dir = std::env::current_dir().context("the current directory")?;
        Ok(job)
    }
}

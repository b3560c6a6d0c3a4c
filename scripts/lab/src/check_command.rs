//! `cargo lab check NN`, which is `scripts/check-step.sh NN`: checks a stage and prints a table.
//!
//! Exit status: 0 at full marks, 1 below, 2 for wrong usage, 130 when interrupted.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result};

use crate::check::{self, Options};
use crate::compile::Tree;
use crate::progress;
use crate::repo::{Repo, Stage};
use crate::rubric::Rubric;
use crate::sandbox::Sandbox;
use crate::table::Table;

/// Check one stage, and say what is wrong
#[derive(clap::Args)]
pub struct Args {
    /// The stage: 06
    #[arg(value_name = "NN")]
    stage: String,
    /// Check the tree in DIR as it is, with the checks of this one
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Run only this check
    #[arg(long, value_name = "CHECK")]
    only: Option<String>,
    /// Write the result to FILE, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Run so many tests at once
    #[arg(long, value_name = "N", default_value_t = default_jobs())]
    jobs: usize,
    /// Run the program in a sandbox, as `cargo lab grade` does
    #[arg(long)]
    sandbox: bool,
}

/// As many as there are cores, and not more than 4: some tests look at how little a process does.
pub fn default_jobs() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(4)
}

/// Checks, prints, remembers.
pub fn run(args: &Args) -> Result<ExitCode> {
    let repo = Repo::here()?;
    let (stage, tree) = match find(&repo, args) {
        Ok(found) => found,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(2));
        }
    };
    let submission = args.dir.as_ref().map_or(".".to_owned(), |dir| dir.display().to_string());
    let sandbox = args.sandbox.then(|| Sandbox::new(Vec::new()));
    for missing in sandbox.iter().flat_map(|it| &it.missing) {
        eprintln!("note: {missing}");
    }
    let options = Options {
        only: args.only.clone(),
        jobs: args.jobs,
        sandbox,
        submission,
        ..Options::default()
    };
    let mut table = Table::begin(&stage, &options.submission);
    let result = check::stage(&repo, &tree, &stage, &options, &mut |check| table.line(check))?;
    table.end(&result);
    progress::record(&tree.repo, &result);
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&result).context("the result as JSON")?;
        fs::write(path, json + "\n").with_context(|| format!("write {}", path.display()))?;
    }
    Ok(if result.score == result.max_score { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the arguments name.
fn find(repo: &Repo, args: &Args) -> Result<(Stage, Tree)> {
    let stage = repo.stage(&args.stage)?;
    check::wanted(&Rubric::load(repo)?, &stage, args.only.as_deref())?;
    let tree = match &args.dir {
        Some(dir) => Tree::at(dir)?,
        None => Tree::here(repo),
    };
    tree.repo.stage(&args.stage).with_context(|| format!("{}", tree.repo.root().display()))?;
    Ok((stage, tree))
}

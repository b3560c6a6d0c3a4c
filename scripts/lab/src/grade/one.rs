//! Grades one submission: takes its files, builds, checks, puts the results on its shelf.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Args;
use super::desk::Desk;
use super::shelf::{self, Shelf};
use crate::check;
use crate::check_command::default_jobs;
use crate::clock;
use crate::export;
use crate::region;
use crate::repo::{Repo, Stage};
use crate::report::NOTHING;
use crate::result::{CheckResult, SCHEMA, StageResult, Status};
use crate::rubric::Rubric;
use crate::rustc;
use crate::submission::{HandedOut, Submission, Taken};

/// So much is kept of what rustc says: macros can make it say anything.
const MESSAGE_LIMIT: usize = 32 << 10;

/// The result of the submission, and whether it was there already.
pub fn grade(
    repo: &Repo,
    stage: &Stage,
    args: &Args,
    submission: &Submission,
) -> Result<(StageResult, bool)> {
    let handed_out = hand_out(repo, stage)?;
    let taken = submission.take(&handed_out);
    let key = shelf::key(stage, &handed_out, &taken);
    let shelf = Shelf::at(&args.out)?;
    let known = if args.fresh { None } else { shelf.result(&key) };
    let was_there = known.is_some();
    let result = match known {
        Some(result) => result,
        None => {
            shelf.clear()?;
            anew(repo, stage, args, submission, &handed_out, taken)?
        }
    };
    shelf.put(&key, &result, &args.format)?;
    Ok((result, was_there))
}

/// What everybody has been given for this stage. A copy without answers is that itself.
pub fn hand_out(repo: &Repo, stage: &Stage) -> Result<HandedOut> {
    let regions = region::files(repo)?;
    if !repo.is_reference() {
        return HandedOut::read(repo.root(), &regions);
    }
    let dir = tempfile::tempdir().context("a temporary place")?;
    export::write(repo, dir.path(), &stage.number)?;
    HandedOut::read(dir.path(), &regions)
}

fn anew(
    repo: &Repo,
    stage: &Stage,
    args: &Args,
    submission: &Submission,
    handed_out: &HandedOut,
    taken: Result<Taken>,
) -> Result<StageResult> {
    let taken = match taken {
        Ok(taken) => taken,
        Err(why) => return unbuilt(repo, stage, submission, &format!("{NOTHING}: {why:#}")),
    };
    let begin = Instant::now();
    let desk = Desk::claim(repo)?;
    desk.fill(handed_out, &taken)?;
    let until = args.budget.map(|seconds| begin + Duration::from_secs(seconds));
    let tree = desk.tree(until)?;
    let options = check::Options {
        submission: submission.name.clone(),
        sandbox: Some(args.sandbox(repo)),
        until,
        jobs: default_jobs(),
        ..check::Options::default()
    };
    let outsider = match tree.program(stage)? {
        Ok(program) => rustc::outsider(&program, tree.repo.root())?,
        Err(_) => None, // the check says the same
    };
    let mut result = match outsider {
        Some(file) => {
            let why = format!("its source includes {}, which is no part of it", file.display());
            unbuilt(repo, stage, submission, &why)?
        }
        None => check::stage(repo, &tree, stage, &options, &mut |_| {})?,
    };
    if let Some(error) = &mut result.build_error {
        cut(error);
    }
    result.seconds = begin.elapsed().as_secs_f64(); // its build included
    result.ignored = taken.remarks;
    Ok(result)
}

/// The result of a submission that can't be run.
fn unbuilt(repo: &Repo, stage: &Stage, submission: &Submission, why: &str) -> Result<StageResult> {
    let rubric = Rubric::load(repo)?;
    let checks = rubric.stage(stage)?.check.iter().map(|check| CheckResult {
        id: check.id.clone(),
        title: check.title.clone(),
        status: Status::Build,
        score: 0,
        max_score: check.points,
        seconds: 0.0,
        failure: None,
    });
    let checks: Vec<CheckResult> = checks.collect();
    Ok(StageResult {
        schema: SCHEMA.to_owned(),
        stage: stage.number.clone(),
        name: stage.name.clone(),
        submission: submission.name.clone(),
        score: 0,
        max_score: checks.iter().map(|check| check.max_score).sum(),
        seconds: 0.0,
        datetime: clock::now(),
        build_error: Some(why.to_owned()),
        ignored: Vec::new(),
        checks,
    })
}

fn cut(text: &mut String) {
    if text.len() > MESSAGE_LIMIT {
        let end = (0..=MESSAGE_LIMIT).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push_str("\n… and more");
    }
}

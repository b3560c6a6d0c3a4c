//! `cargo lab list`: where one stands, and what to do next.

use std::process::ExitCode;

use anyhow::Result;

use crate::progress::{self, Progress, StageProgress};
use crate::region::{self, Region};
use crate::repo::{Repo, Stage};
use crate::screen::{Paint, Style, show};

/// Show the stages: what is written, the last and the best score
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Prints the table.
pub fn run(_args: &Args) -> Result<ExitCode> {
    let repo = Repo::here()?;
    let (stages, regions) = (repo.stages()?, region::all(&repo)?);
    let progress = progress::load(&repo);
    let paint = Paint::stdout();

    let mut text =
        format!("{}\n", paint.with(Style::Bold, &line("stage", "written", "last", "best", "")));
    for stage in &stages {
        text += &format!("{}\n", row(stage, &regions, progress.stages.get(&stage.number)));
    }
    let anything_blank = regions.iter().any(Region::is_blank);
    let next = match repo.is_reference() && !anything_blank {
        true => "nothing is blank: this checkout has the answers (a lab without them: cargo lab export DIR)".to_owned(),
        false => next(&stages, &regions, &progress),
    };
    show(&format!("{text}\n{next}\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn line(stage: &str, written: &str, last: &str, best: &str, rest: &str) -> String {
    format!("{stage:<22} {written:>7} {last:>6} {best:>6}   {rest}").trim_end().to_owned()
}

fn row(stage: &Stage, regions: &[Region], progress: Option<&StageProgress>) -> String {
    let regions = of(stage, regions);
    let blank: Vec<&str> = regions.iter().filter(|it| it.is_blank()).map(|it| name(it)).collect();
    let score = |score: Option<&progress::Score>| match score {
        Some(score) => score.score.to_string(),
        None => "-".to_owned(),
    };
    let last = score(progress.and_then(|it| it.last.as_ref()));
    let best = score(progress.and_then(|it| it.best.as_ref()));
    let rest = match blank.len() {
        0 => String::new(),
        _ => format!("blank: {}", blank.join(", ")),
    };
    let written = format!("{}/{}", regions.len() - blank.len(), regions.len());
    line(&format!("{} {}", stage.number, stage.name), &written, &last, &best, &rest)
}

/// One line: the first stage at which something is to be done, and what.
fn next(stages: &[Stage], regions: &[Region], progress: &Progress) -> String {
    let last = |stage: &Stage| Some(progress.stages.get(&stage.number)?.last.as_ref()?.score);
    let mut checked_before = false;
    for stage in stages {
        let number = &stage.number;
        let check = format!("scripts/check-step.sh {number}");
        if let Some(region) = of(stage, regions).into_iter().find(|region| region.is_blank()) {
            let (id, place) = (&region.id, region.place());
            return format!(
                "next: write {id} ({place}), then {check}; a hint: cargo lab hint {id}"
            );
        }
        match last(stage) {
            Some(100..) => checked_before = true,
            Some(score) => {
                return format!(
                    "next: {score}/100 at stage {number}: {check}; a hint: cargo lab hint {number}"
                );
            }
            // In an export that begins later, the stages before are written, but not checked.
            None if checked_before => return format!("next: {check}"),
            None => {}
        }
    }
    match stages.iter().find(|stage| last(stage).is_none()) {
        Some(stage) => {
            format!("next: all is written, so check it: scripts/check-step.sh {}", stage.number)
        }
        None => "all stages have 100 points".to_owned(),
    }
}

/// The regions of a stage, in the order of writing: the primitives before what is made of them.
pub fn of<'a>(stage: &Stage, regions: &'a [Region]) -> Vec<&'a Region> {
    let of_stage = regions.iter().filter(|region| region.stage() == stage.number);
    let mut regions: Vec<&Region> = of_stage.collect();
    regions.sort_by_key(|region| (region.file.starts_with("steps"), &region.file, region.line));
    regions
}

/// `send_fd` of `03.send_fd`.
pub fn name(region: &Region) -> &str {
    region.id.split_once('.').map_or(&region.id, |(_, name)| name)
}

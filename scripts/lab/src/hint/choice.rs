//! Which region a hint is about.

use std::cmp::Reverse;

use anyhow::{Context, Result, bail};

use crate::list::{name, of};
use crate::progress::StageProgress;
use crate::region::Region;
use crate::repo::Stage;
use crate::rubric::{Check, Rubric};

/// A region to give a hint for.
pub struct Choice<'a> {
    /// It.
    pub region: &'a Region,
    /// The check whose failure led to it.
    pub failed: Option<&'a Check>,
}

/// What the last check says, else what is blank.
pub fn choose<'a>(
    stage: &Stage,
    regions: &'a [Region],
    rubric: &'a Rubric,
    known: &StageProgress,
) -> Result<Choice<'a>> {
    let checks = &rubric.stage(stage)?.check;
    let failed = known.failing.iter().find_map(|id| checks.iter().find(|check| check.id == *id));
    let blanks = || of(stage, regions).into_iter().filter(|region| region.is_blank());
    if let Some(region) = blanks().find(|region| Some(&region.id) == known.blank.as_ref()) {
        return Ok(Choice { region, failed });
    }
    if let Some(check) = failed {
        // Of the regions that could be to blame, one that isn't written certainly is; then that
        // without which most fails and least works.
        let mut suspects: Vec<&Region> = suspects(check, regions).collect();
        let weight = |region: &Region| evidence(region, checks, &known.failing);
        suspects.sort_by_key(|region| (!region.is_blank(), Reverse(weight(region))));
        if let Some(region) = suspects.first() {
            return Ok(Choice { region, failed });
        }
    }
    if let Some(region) = blanks().next() {
        return Ok(Choice { region, failed: None });
    }
    let number = &stage.number;
    let names: Vec<&str> = of(stage, regions).into_iter().map(name).collect();
    let why = match &known.last {
        _ if known.build_failed => "it didn't build in the last check: rustc says where and why",
        None => "all is written, and it wasn't checked yet",
        Some(last) if last.score >= 100 => "it has 100 points",
        Some(_) => "nothing of this stage failed in the last check",
    };
    if let Some(id) = &known.needs {
        bail!("no hint for stage {number}: {why}. It needs {id}, which fails: cargo lab hint {id}");
    }
    bail!(
        "no hint for stage {number}: {why}\n  check it:  scripts/check-step.sh {number}\n  \
         a hint all the same:  cargo lab hint {number} REGION, one of {}",
        names.join(", ")
    )
}

/// How many more of the checks that point to a region fail than pass.
fn evidence(region: &Region, checks: &[Check], failing: &[String]) -> i32 {
    let pointing = checks.iter().filter(|check| check.regions.contains(&region.id));
    pointing.map(|check| if failing.contains(&check.id) { 1 } else { -1 }).sum()
}

/// The regions that a check points to, the likeliest first.
fn suspects<'a>(check: &Check, regions: &'a [Region]) -> impl Iterator<Item = &'a Region> {
    check.regions.iter().filter_map(|id| regions.iter().find(|region| region.id == *id))
}

/// The region that is meant by `send_fd` or `03.send_fd`.
pub fn find<'a>(stage: &Stage, regions: &'a [Region], named: &str) -> Result<&'a Region> {
    let meant = |region: &&Region| region.id == named || name(region) == named;
    let region = of(stage, regions).into_iter().find(meant);
    let number = &stage.number;
    let known = || of(stage, regions).into_iter().map(name).collect::<Vec<_>>().join(", ");
    region.with_context(|| format!("stage {number} has no region {named}; it has {}", known()))
}

//! `tests/rubric.toml`: which tests make a check, what it is worth, what to say when it fails.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::repo::{Repo, Stage};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rubric {
    /// By number: `[stage.06]`.
    stage: BTreeMap<String, StageRubric>,
    /// By the name of the test: `[test.every_size_is_sent_byte_for_byte]`. A test that several
    /// stages have stands here once, unless one of them needs words of its own:
    /// `[test."05:every_size_is_sent_byte_for_byte"]`.
    #[serde(default)]
    test: BTreeMap<String, TestText>,
    /// By its id: `[region."06.send_windows"]`.
    #[serde(default)]
    region: BTreeMap<String, RegionHelp>,
}

/// A stage: 100 points in 8 to 15 checks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageRubric {
    /// What an export with nothing written scores.
    pub floor: u32,
    /// The regions of earlier stages that this one is built on, the most basic first.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Tests of the stage that carry no points, as nothing a student writes can change them.
    #[serde(default)]
    pub ungraded: Vec<String>,
    /// In the order in which they are shown.
    pub check: Vec<Check>,
}

/// A line of the rubric. It is passed when all of its tests pass.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Unique in its stage: what `--only` takes.
    pub id: String,
    /// A sentence of behaviour: `an empty file is sent and received`.
    pub title: String,
    /// What it is worth.
    pub points: u32,
    /// The tests, the most telling first: the first that fails is shown.
    pub tests: Vec<String>,
    /// Where to read: `06-mmap-zero-copy.md#empty-file`, below `notes/src/`.
    pub notes: String,
    /// The regions of this stage whose hints help, the likeliest first.
    pub regions: Vec<String>,
}

/// What to say about a test that fails.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestText {
    /// What was done: `a server with 2 workers, a file of 0 bytes, one client`.
    pub tried: String,
    /// What should have come of it; without it, the name of the test read as a sentence.
    pub expected: Option<String>,
    /// It needs the machine for itself: no other test runs beside it.
    #[serde(default)]
    pub alone: bool,
}

/// Help with a region.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionHelp {
    /// Where to read: `06-mmap-zero-copy.md#room-on-the-disk`, below `notes/src/`.
    pub notes: String,
    /// From a question to think about to nearly the answer.
    pub hints: [String; 3],
    /// The test that shows whether the region works: `03:worker_holds_the_connection_…`. What is
    /// built on the region can't be judged while that test fails.
    pub shown_by: String,
}

impl Rubric {
    /// Reads it and checks it.
    pub fn load(repo: &Repo) -> Result<Self> {
        let text =
            fs::read_to_string(repo.path("tests/rubric.toml")).context("tests/rubric.toml")?;
        let rubric: Self = toml::from_str(&text).context("tests/rubric.toml")?;
        for (number, stage) in &rubric.stage {
            let points: u32 = stage.check.iter().map(|check| check.points).sum();
            if points != 100 {
                bail!("tests/rubric.toml: the checks of stage {number} add up to {points} points");
            }
        }
        Ok(rubric)
    }

    /// What is said of a stage.
    pub fn stage(&self, stage: &Stage) -> Result<&StageRubric> {
        let found = self.stage.get(&stage.number);
        found.with_context(|| format!("tests/rubric.toml has no stage {}", stage.number))
    }

    /// Is every test of a stage in exactly one check, or said to carry no points? A test that
    /// nobody runs would be a hole, and one that isn't there can't fail.
    pub fn covers(&self, stage: &Stage, tests: &[String]) -> Result<()> {
        let of_stage = self.stage(stage)?;
        let graded = of_stage.check.iter().flat_map(|check| &check.tests);
        let mut named: Vec<&String> = graded.chain(&of_stage.ungraded).collect();
        let mut there: Vec<&String> = tests.iter().collect();
        named.sort();
        there.sort();
        if let Some(test) = there.iter().find(|test| named.binary_search(test).is_err()) {
            bail!("tests/rubric.toml: stage {} says nothing of the test {test}", stage.number);
        }
        if let Some(test) = named.iter().find(|test| there.binary_search(test).is_err()) {
            bail!("tests/rubric.toml: stage {} has no test {test}", stage.number);
        }
        match named.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => bail!("tests/rubric.toml: stage {} has {} twice", stage.number, pair[0]),
            None => Ok(()),
        }
    }

    /// What is said of a test.
    pub fn test(&self, stage: &Stage, name: &str) -> TestText {
        let of_stage = self.test.get(&format!("{}:{name}", stage.number));
        of_stage.or_else(|| self.test.get(name)).cloned().unwrap_or_default()
    }

    /// What is said of a region.
    pub fn region(&self, id: &str) -> Option<&RegionHelp> {
        self.region.get(id)
    }
}

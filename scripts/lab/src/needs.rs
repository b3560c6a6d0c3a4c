//! Does what a stage is built on work? It is found out when something has failed, and once: a
//! region of an earlier stage fails if nothing is written in it, or if the test fails that shows
//! whether it works, which is a test of that stage, run against the same tree.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use anyhow::{Context, Result};

use crate::calibrate::Pace;
use crate::compile::Tree;
use crate::region;
use crate::repo::{Repo, Stage};
use crate::rubric::Rubric;
use crate::sandbox::Sandbox;
use crate::schedule;
use crate::workbench::Workbench;

/// The regions a stage needs, and what was found out about them.
pub struct Needs<'a> {
    pub checks: &'a Repo,
    pub tree: &'a Tree,
    pub stage: &'a Stage,
    pub rubric: &'a Rubric,
    pub pace: &'a Pace,
    pub sandbox: Option<&'a Sandbox>,
    /// What is wrong, if anything is; `None` before anybody asked.
    pub answer: Option<Option<String>>,
}

impl Needs<'_> {
    /// The first region that doesn't work: `needs 03.send_fd, which fails`.
    pub fn missing(&mut self) -> Result<Option<String>> {
        if self.answer.is_none() {
            self.answer = Some(self.find()?);
        }
        Ok(self.answer.clone().flatten())
    }

    fn find(&self) -> Result<Option<String>> {
        let needs = &self.rubric.stage(self.stage)?.needs;
        // Markers that a student has damaged are for the tests to judge.
        let regions = region::all(&self.tree.repo).unwrap_or_default();
        let is_blank = |id: &String| regions.iter().any(|it| it.id == *id && it.is_blank());
        if let Some(id) = needs.iter().find(|id| is_blank(id)) {
            return Ok(Some(format!("needs {id}, which is not written yet")));
        }
        let (mut workbenches, mut known) = (BTreeMap::new(), BTreeMap::new());
        for id in needs {
            let help = self.rubric.region(id);
            let shown_by = &help.with_context(|| format!("tests/rubric.toml: no {id}"))?.shown_by;
            let fails = match known.entry(shown_by.as_str()) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(unknown) => *unknown.insert(self.fails(shown_by, &mut workbenches)?),
            };
            if fails {
                // When the time is up nothing can be said of a region.
                let over = self.pace.is_over();
                return Ok((!over).then(|| format!("needs {id}, which fails")));
            }
        }
        Ok(None)
    }

    /// Runs a test, `03:worker_holds_the_connection`, on the workbench of its stage. There is none
    /// where the program of that stage doesn't build.
    fn fails<'b>(
        &'b self,
        shown_by: &str,
        workbenches: &mut BTreeMap<String, Option<Workbench<'b>>>,
    ) -> Result<bool> {
        let (number, test) = shown_by
            .split_once(':')
            .with_context(|| format!("tests/rubric.toml: shown_by = {shown_by:?}"))?;
        let workbench = match workbenches.entry(number.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let stage = self.checks.stage(number)?;
                let workbench =
                    Workbench::set_up(self.checks, self.tree, &stage, self.pace, self.sandbox)?;
                unknown.insert(workbench.ok())
            }
        };
        let Some(workbench) = workbench else { return Ok(true) };
        let place = workbench.place(test)?;
        let verdict = schedule::one(workbench.job(&place))?;
        Ok(workbench.outcome(&place, verdict)?.failed())
    }
}

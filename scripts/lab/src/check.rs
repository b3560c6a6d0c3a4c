//! Runs the checks of a stage and says what came of them.
//!
//! Interface: [`stage`], which gives a [`StageResult`] for whoever wants to make a report of it,
//! and shows each line as soon as it is known, in the order of the rubric.
//!
//! Rules: a check is passed when all of its tests pass. Once one of them has failed the others are
//! not started. What a check fails for counts in this order: an earlier stage that doesn't work,
//! then the first of its tests that failed, in the order of the rubric.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::calibrate::Pace;
use crate::clock;
use crate::compile::{BuildError, Tree};
use crate::needs::Needs;
use crate::outcome::{Outcome, Trouble};
use crate::repo::{Repo, Stage};
use crate::result::{CheckResult, Failure, SCHEMA, StageResult, Status};
use crate::rubric::{Check, Rubric};
use crate::sandbox::Sandbox;
use crate::schedule::{self, Job, Order};
use crate::supervise::Verdict;
use crate::text;
use crate::workbench::{Place, Workbench};

/// How to check.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only the check with this id.
    pub only: Option<String>,
    /// How many tests run at once.
    pub jobs: usize,
    /// For programs of strangers.
    pub sandbox: Option<Sandbox>,
    /// What isn't over by then is given up.
    pub until: Option<Instant>,
    /// Seconds that a test waits for what should happen at once, if not the usual ones.
    pub patience: Option<u32>,
    /// What the report calls the tree.
    pub submission: String,
}

/// Checks a stage of `tree` with the checks of the checkout `checks`. Shows every check that was
/// run; of a program that doesn't build, none is.
pub fn stage(
    checks: &Repo,
    tree: &Tree,
    stage: &Stage,
    options: &Options,
    show: &mut dyn FnMut(&CheckResult),
) -> Result<StageResult> {
    let begin = Instant::now();
    let rubric = Rubric::load(checks)?;
    let wanted = wanted(&rubric, stage, options.only.as_deref())?;
    let usual_pace = Pace::measure(checks, options.until)?;
    let mut pace = usual_pace.clone();
    if let Some(seconds) = options.patience {
        pace.usual_patience = seconds.into();
    }
    let sandbox = options.sandbox.as_ref();
    let (results, build_error) = match Workbench::set_up(checks, tree, stage, &pace, sandbox)? {
        Err(BuildError(said)) => {
            let results = wanted.iter().map(|check| unbuilt(check, tree, stage)).collect();
            (results, Some(said))
        }
        Ok(workbench) => {
            // What is built on is taken to work: nothing is waited for in vain there.
            let pace = &usual_pace;
            let needs = Needs { checks, tree, stage, rubric: &rubric, pace, sandbox, answer: None };
            let (rubric, workbench, checks) = (&rubric, &workbench, wanted.as_slice());
            let (tests, results) = (Vec::new(), Vec::new());
            let mut run =
                Run { tree, stage, rubric, workbench, checks, needs, show, tests, results };
            schedule::run(run.queue()?, options.jobs, &mut run)?;
            run.settle()?;
            (run.results, None)
        }
    };
    Ok(StageResult {
        schema: SCHEMA.to_owned(),
        stage: stage.number.clone(),
        name: stage.name.clone(),
        submission: options.submission.clone(),
        score: results.iter().map(|it: &CheckResult| it.score).sum(),
        max_score: results.iter().map(|it| it.max_score).sum(),
        seconds: begin.elapsed().as_secs_f64(),
        datetime: clock::now(),
        build_error,
        ignored: Vec::new(),
        checks: results,
    })
}

/// The checks of a stage: all, or the one with this id.
pub fn wanted<'a>(rubric: &'a Rubric, stage: &Stage, only: Option<&str>) -> Result<Vec<&'a Check>> {
    let all = &rubric.stage(stage)?.check;
    let Some(only) = only else { return Ok(all.iter().collect()) };
    match all.iter().find(|check| check.id == only) {
        Some(check) => Ok(vec![check]),
        None => {
            let ids: Vec<&str> = all.iter().map(|check| check.id.as_str()).collect();
            bail!("stage {} has no check {only}; it has {}", stage.number, ids.join(", "))
        }
    }
}

/// A check that was not run, as there is nothing to run.
fn unbuilt(check: &Check, tree: &Tree, stage: &Stage) -> CheckResult {
    let failure =
        Failure { saw: "the program doesn't build".to_owned(), ..advice(check, tree, stage) };
    let (id, title) = (check.id.clone(), check.title.clone());
    let (status, max_score) = (Status::Build, check.points);
    CheckResult { id, title, status, score: 0, max_score, seconds: 0.0, failure: Some(failure) }
}

/// How to check it again, where to read, where to get help.
fn advice(check: &Check, tree: &Tree, stage: &Stage) -> Failure {
    let number = &stage.number;
    let dir =
        tree.named.as_ref().map(|dir| format!(" --dir {}", text::quoted(&dir.to_string_lossy())));
    let dir = dir.unwrap_or_default();
    Failure {
        again: format!("scripts/check-step.sh {number} --only {}{dir}", check.id),
        read: format!("notes/src/{}", check.notes),
        hint: format!("cargo lab hint {number}"),
        ..Failure::default()
    }
}

/// A run of some checks of a stage.
struct Run<'a> {
    tree: &'a Tree,
    stage: &'a Stage,
    rubric: &'a Rubric,
    workbench: &'a Workbench<'a>,
    checks: &'a [&'a Check],
    needs: Needs<'a>,
    show: &'a mut dyn FnMut(&CheckResult),
    tests: Vec<Test>,
    /// Those that have been shown.
    results: Vec<CheckResult>,
}

/// A test of a check.
struct Test {
    check: usize,
    place: Option<Place>,
    state: State,
}

enum State {
    Waiting,
    Running,
    Done(Outcome),
}

impl Test {
    fn trouble(&self) -> Option<&Trouble> {
        match &self.state {
            State::Done(outcome) => outcome.trouble.as_ref(),
            _ => None,
        }
    }

    fn failed(&self) -> bool {
        matches!(&self.state, State::Done(outcome) if outcome.failed())
    }
}

impl Run<'_> {
    /// Lays out every test. They are known by their places in `tests` from here on.
    fn queue(&mut self) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        for (number, check) in self.checks.iter().enumerate() {
            for name in &check.tests {
                let place = self.workbench.place(name)?;
                let mut job = self.workbench.job(&place);
                job.alone = self.rubric.test(self.stage, name).alone;
                jobs.push(job);
                self.tests.push(Test { check: number, place: Some(place), state: State::Waiting });
            }
        }
        Ok(jobs)
    }

    fn tests_of(&self, check: usize) -> impl Iterator<Item = &Test> {
        self.tests.iter().filter(move |test| test.check == check)
    }

    /// Is there nothing more to wait for?
    fn is_settled(&self, check: usize) -> bool {
        let running = |test: &Test| matches!(test.state, State::Running);
        match self.tests_of(check).position(Test::failed) {
            Some(failed) => !self.tests_of(check).take(failed).any(running),
            None => self.tests_of(check).all(|test| matches!(test.state, State::Done(_))),
        }
    }

    /// Shows the checks that nothing more can come of.
    fn settle(&mut self) -> Result<()> {
        while self.results.len() < self.checks.len() && self.is_settled(self.results.len()) {
            let result = self.result(self.results.len())?;
            (self.show)(&result);
            self.results.push(result);
        }
        Ok(())
    }

    fn result(&mut self, number: usize) -> Result<CheckResult> {
        let check = self.checks[number];
        let tests: Vec<&Test> = self.tests_of(number).collect();
        let seconds = tests.iter().map(|test| match &test.state {
            State::Done(outcome) => outcome.seconds,
            _ => 0.0,
        });
        let seconds = seconds.sum();
        let telling = tests.iter().position(|test| test.failed());
        let telling = telling.or_else(|| tests.iter().position(|test| test.trouble().is_some()));
        let trouble = telling.and_then(|at| Some((&check.tests[at], tests[at].trouble()?.clone())));
        let (status, failure) = match trouble {
            None => (Status::Ok, None),
            Some((name, trouble)) => {
                let (status, failure) = self.failure(check, name, trouble)?;
                (status, Some(failure))
            }
        };
        let (id, title, max_score) = (check.id.clone(), check.title.clone(), check.points);
        let score = if status == Status::Ok { max_score } else { 0 };
        Ok(CheckResult { id, title, status, score, max_score, seconds, failure })
    }

    fn failure(
        &mut self,
        check: &Check,
        name: &str,
        trouble: Trouble,
    ) -> Result<(Status, Failure)> {
        let said = self.rubric.test(self.stage, name);
        let mut failure = Failure {
            test: name.to_owned(),
            tried: said.tried,
            expected: said.expected.unwrap_or_else(|| text::sentence(name)),
            saw: trouble.saw,
            ran: trouble.ran,
            output: trouble.output,
            ..advice(check, self.tree, self.stage)
        };
        if trouble.status != Status::NotChecked
            && let Some(missing) = self.needs.missing()?
        {
            failure.saw = missing;
            return Ok((Status::Needs, failure));
        }
        Ok((trouble.status, failure))
    }
}

impl Order for Run<'_> {
    fn wanted(&mut self, at: usize) -> bool {
        let check = self.tests[at].check;
        if self.needs.pace.is_over() {
            self.tests[at].state = State::Done(Outcome::out_of_time());
            return false;
        }
        let wanted = !self.tests_of(check).any(Test::failed);
        if wanted {
            self.tests[at].state = State::Running;
        }
        wanted
    }

    fn done(&mut self, at: usize, verdict: Verdict) -> Result<()> {
        if let Some(place) = self.tests[at].place.take() {
            self.tests[at].state = State::Done(self.workbench.outcome(&place, verdict)?);
        }
        self.settle()
    }
}

//! The workbench of a stage: a copy of the program under test, a copy of the tests, and a place of its
//! own for each test that is run.
//!
//! Copies, because another build may replace the originals meanwhile, and because a test in a
//! sandbox is another user, who may see this directory only.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::calibrate::Pace;
use crate::compile::{BuildError, Tree};
use crate::outcome::{Outcome, Report};
use crate::paths::ShortPaths;
use crate::repo::{Repo, Stage};
use crate::sandbox::Sandbox;
use crate::schedule::Job;
use crate::supervise::{End, Verdict};

/// What a test reports, see `tests/support/src/grading.rs`.
const REPORT: &str = "report";

/// What stage 09 looks for beside itself: the programs that come with it.
const PROGRAMS: &str = "cgi";

/// How many bytes are kept of what a test prints.
const OUTPUT: usize = 64 << 10;

/// The workbench of a stage. Gone when dropped, with all that is on it.
pub struct Workbench<'a> {
    dir: TempDir,
    program: PathBuf,
    /// How a person would name it: `target/debug/step06-mmap-zero-copy`.
    shown_program: String,
    tests: PathBuf,
    stage: Stage,
    pace: &'a Pace,
    sandbox: Option<&'a Sandbox>,
    places: Cell<usize>,
}

/// The place of a test that is run: its temporary directory, with its report. Gone when dropped.
pub struct Place {
    pub test: String,
    dir: PathBuf,
}

impl<'a> Workbench<'a> {
    /// Builds the program of the stage in `tree`, and the tests of the stage in `checks`.
    pub fn set_up(
        checks: &Repo,
        tree: &Tree,
        stage: &Stage,
        pace: &'a Pace,
        sandbox: Option<&'a Sandbox>,
    ) -> Result<Result<Self, BuildError>> {
        let dir = tempfile::Builder::new().prefix("lab-").tempdir().context("a temporary place")?;
        // Others may pass, not look around.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).context("chmod")?;
        let program = dir.path().join(stage.package());
        let built = match tree.program(stage)? {
            Ok(built) => built,
            Err(error) => return Ok(Err(error)),
        };
        copy(&built, &program)?;
        lay_out(&checks.path(stage.folder()).join(PROGRAMS), &dir.path().join(PROGRAMS))?;
        // Where a student has it, wherever it was built here.
        let shown_program = format!("target/debug/{}", stage.package());
        let tests = dir.path().join("tests");
        copy(&Tree::here(checks).tests(stage)?, &tests)?;
        Ok(Ok(Self {
            dir,
            program,
            shown_program,
            tests,
            stage: stage.clone(),
            pace,
            sandbox,
            places: Cell::new(0),
        }))
    }
}

impl Workbench<'_> {
    /// A place for a run of `test`.
    pub fn place(&self, test: &str) -> Result<Place> {
        self.places.set(self.places.get() + 1);
        let dir = self.dir.path().join(self.places.get().to_string());
        fs::create_dir(&dir).context("create a place for a test")?;
        fs::write(dir.join(REPORT), "").context("create a report")?;
        Ok(Place { test: test.to_owned(), dir })
    }

    /// The run of the test.
    pub fn job(&self, place: &Place) -> Job {
        let deadline = self.pace.deadline(&self.stage, &place.test);
        let mut job = Job::new(&self.tests, deadline);
        job.command.extend(["--exact", &place.test, "--nocapture"].map(Into::into));
        job.until = self.pace.until;
        job.dir.clone_from(&place.dir);
        job.output = OUTPUT;
        job.sandbox = self.sandbox.cloned();
        let mut set = |name: &str, value: OsString| {
            job.environment.push((name.to_owned(), value));
        };
        set("LAB_PROGRAM", self.program.clone().into());
        set("LAB_PATIENCE", self.pace.patience().to_string().into());
        set("LAB_REPORT", place.dir.join(REPORT).into());
        set("TMPDIR", place.dir.clone().into());
        set("RUST_BACKTRACE", "0".into());
        // What a program says to type names its package; cargo has set that to this tool's.
        set("CARGO_PKG_NAME", self.stage.package().into());
        if self.sandbox.is_some() {
            set("LAB_GUARD", "1".into());
        }
        job
    }

    /// What came of it.
    pub fn outcome(&self, place: &Place, verdict: Verdict) -> Result<Outcome> {
        if verdict.end == End::Deadline && self.pace.is_over() {
            return Ok(Outcome::out_of_time());
        }
        let report = Report::read(&place.dir.join(REPORT));
        let deadline = self.pace.deadline(&self.stage, &place.test);
        let paths = ShortPaths::new(self.dir.path(), &self.program, &self.shown_program);
        Ok(Outcome::new(&place.test, verdict, report, deadline)?.with(paths))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Copies a folder of programs, where there is one.
fn lay_out(from: &Path, to: &Path) -> Result<()> {
    let Ok(entries) = from.read_dir() else {
        return Ok(());
    };
    fs::create_dir(to).context("create a folder for programs")?;
    fs::set_permissions(to, Permissions::from_mode(0o755)).context("chmod")?;
    for entry in entries {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    fs::set_permissions(to, Permissions::from_mode(0o755)).context("chmod")
}

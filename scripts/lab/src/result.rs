//! What came of a check: the one record from which every report is made.
//!
//! Its JSON form is versioned by [`SCHEMA`]. A change that a reader could stumble over needs a
//! new version.

use serde::{Deserialize, Serialize};

/// The version of the JSON form.
pub const SCHEMA: &str = "process-pool-lab/result/v1";

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All of its tests passed.
    Ok,
    /// A test failed.
    Fail,
    /// A test wasn't over by its deadline, or waited in vain for something until its own.
    Timeout,
    /// A test was killed by a signal.
    Crash,
    /// It can't be checked on this machine.
    NotChecked,
    /// It can't be judged: a region of an earlier stage doesn't work.
    Needs,
    /// The program doesn't build.
    Build,
}

/// A line of the report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckResult {
    /// As in the rubric.
    pub id: String,
    /// As in the rubric.
    pub title: String,
    /// How it ended.
    pub status: Status,
    /// Points given.
    pub score: u32,
    /// Points there are.
    pub max_score: u32,
    /// How long it took.
    pub seconds: f64,
    /// What went wrong, unless it is [`Status::Ok`].
    pub failure: Option<Failure>,
}

/// What a student is told about a check that wasn't passed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Failure {
    /// The test that failed; empty when none was run.
    pub test: String,
    /// What was done.
    pub tried: String,
    /// What should have come of it.
    pub expected: String,
    /// What came of it, or why it wasn't checked.
    pub saw: String,
    /// The commands that the test ran, as one would type them.
    pub ran: Vec<String>,
    /// All that the test printed, cut to a bearable length.
    pub output: String,
    /// The command that checks just this again.
    pub again: String,
    /// `notes/src/06-mmap-zero-copy.md#empty-file`
    pub read: String,
    /// `cargo lab hint 06`
    pub hint: String,
}

impl Failure {
    /// The region that the program came to and that isn't written, as it says itself:
    /// `error: 06.header is not written yet (…`.
    pub fn blank(&self) -> Option<&str> {
        let (before, _) = self.saw.split_once(" is not written yet (")?;
        before.split_whitespace().last()
    }
}

/// The report of a stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageResult {
    /// [`SCHEMA`]
    pub schema: String,
    /// `06`
    pub stage: String,
    /// `mmap-zero-copy`
    pub name: String,
    /// What was graded: a folder, or the name of a submission.
    pub submission: String,
    /// Points given.
    pub score: u32,
    /// Points there are: 100, or fewer when only some checks were asked for.
    pub max_score: u32,
    /// How long it took, build included.
    pub seconds: f64,
    /// When it was over, `2026-11-21T10:24:17Z`.
    pub datetime: String,
    /// What rustc said, if the program doesn't build.
    pub build_error: Option<String>,
    /// What a submission held that was not used: changed files without regions, extra files.
    pub ignored: Vec<String>,
    /// In the order of the rubric.
    pub checks: Vec<CheckResult>,
}

//! Classroom 50's `result.json`, version `classroom50/result/v1`.
//!
//! See <https://github.com/foundation50/classroom50>, `schemas/result-v1.schema.json`. Unknown keys
//! at the top level are rejected there, numbers are integers, and whose work it is comes from the
//! environment of the run. Written to `result.classroom50.json`, as `result.json` is our own.

use anyhow::{Result, bail};
use serde::Serialize;

use super::plain;
use crate::result::{CheckResult, StageResult, Status};

const SCHEMA: &str = "classroom50/result/v1";

/// Whose work is graded, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    classroom: String,
    assignment: String,
    assignment_type: String,
    owner: String,
    submission: String,
    commit: String,
    release: String,
    review: String,
}

impl Origin {
    /// As the environment says. `var` looks a variable up; an empty one counts as missing.
    pub fn of_environment(var: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut missing = Vec::new();
        let mut need = |names: &[&'static str]| {
            let found = names.iter().find_map(|name| var(name));
            found.unwrap_or_else(|| {
                missing.push(names.join(" or "));
                String::new()
            })
        };
        let commit = need(&["COMMIT_URL"]);
        let origin = Self {
            classroom: need(&["CLASSROOM"]),
            assignment: need(&["ASSIGNMENT"]),
            assignment_type: var("MODE").unwrap_or_else(|| "individual".to_owned()),
            owner: need(&["USERNAME", "GITHUB_ACTOR"]),
            submission: need(&["SUBMISSION_TAG"]),
            release: need(&["RELEASE_URL"]),
            review: var("REVIEW_URL").unwrap_or_else(|| commit.clone()),
            commit,
        };
        if !missing.is_empty() {
            bail!("--format classroom50: not in the environment: {}", missing.join(", "));
        }
        Ok(origin)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report<'a> {
    schema: &'static str,
    classroom: &'a str,
    assignment: &'a str,
    #[serde(rename = "assignment_type")]
    assignment_type: &'a str,
    owner: &'a str,
    submission: &'a str,
    commit: &'a str,
    release: &'a str,
    review: &'a str,
    datetime: &'a str,
    score: u32,
    max_score: u32,
    tests: Vec<Test>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Test {
    test_name: String,
    passed: bool,
    score: u32,
    max_score: u32,
}

/// The text of the file.
pub fn render(result: &StageResult, origin: &Origin) -> Result<String> {
    let report = Report {
        schema: SCHEMA,
        classroom: &origin.classroom,
        assignment: &origin.assignment,
        assignment_type: &origin.assignment_type,
        owner: &origin.owner,
        submission: &origin.submission,
        commit: &origin.commit,
        release: &origin.release,
        review: &origin.review,
        datetime: &result.datetime,
        score: result.score,
        max_score: result.max_score,
        tests: result.checks.iter().map(test).collect(),
    };
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

fn test(check: &CheckResult) -> Test {
    Test {
        test_name: plain(&check.title),
        passed: check.status == Status::Ok,
        score: check.score,
        max_score: check.max_score,
    }
}

//! Gradescope's `results.json`.
//!
//! See <https://gradescope-autograders.readthedocs.io/en/latest/specs/>. Everything is plain text
//! and visible to the student; what the run itself prints stays with the teacher.

use anyhow::Result;
use serde::Serialize;

use super::{explanation_text, plain, verdict, word};
use crate::result::{CheckResult, StageResult, Status};

const TEXT: &str = "text";
const VISIBLE: &str = "visible";
const HIDDEN: &str = "hidden";

#[derive(Serialize)]
struct Results<'a> {
    score: u32,
    /// In seconds.
    execution_time: u64,
    output: String,
    output_format: &'static str,
    visibility: &'static str,
    stdout_visibility: &'static str,
    extra_data: ExtraData<'a>,
    tests: Vec<Test>,
}

/// What Gradescope keeps with the submission and shows to nobody.
#[derive(Serialize)]
struct ExtraData<'a> {
    schema: &'a str,
    stage: &'a str,
    datetime: &'a str,
    ignored: &'a [String],
}

#[derive(Serialize)]
struct Test {
    score: u32,
    max_score: u32,
    status: &'static str,
    name: String,
    number: String,
    output: String,
    output_format: &'static str,
    tags: Vec<String>,
    visibility: &'static str,
}

/// The text of `results.json`.
pub fn render(result: &StageResult) -> Result<String> {
    let tests = (1..).zip(&result.checks).map(|(number, check)| test(number, check)).collect();
    let results = Results {
        score: result.score,
        execution_time: seconds(result.seconds),
        output: summary(result),
        output_format: TEXT,
        visibility: VISIBLE,
        stdout_visibility: HIDDEN,
        extra_data: ExtraData {
            schema: &result.schema,
            stage: &result.stage,
            datetime: &result.datetime,
            ignored: &result.ignored,
        },
        tests,
    };
    Ok(serde_json::to_string_pretty(&results)? + "\n")
}

fn test(number: usize, check: &CheckResult) -> Test {
    Test {
        score: check.score,
        max_score: check.max_score,
        status: if check.status == Status::Ok { "passed" } else { "failed" },
        name: check.title.clone(),
        number: number.to_string(),
        output: explanation_text(check),
        output_format: TEXT,
        tags: vec![check.id.clone(), word(check.status).to_lowercase()],
        visibility: VISIBLE,
    }
}

/// What is said of the submission as a whole.
fn summary(result: &StageResult) -> String {
    let StageResult { stage, name, score, max_score, .. } = result;
    let mut text = format!("{stage} {name}: {score}/{max_score}\n");
    if let Some(error) = &result.build_error {
        text += &format!("\n{}:\n\n{}\n", verdict(result), plain(error));
    }
    if !result.ignored.is_empty() {
        text += "\nNot used of what was handed in:\n";
        for ignored in &result.ignored {
            text += &format!("  {}\n", plain(ignored));
        }
    }
    text
}

/// Whole seconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates: no number of seconds becomes a wrong one"
)]
fn seconds(seconds: f64) -> u64 {
    seconds.round() as u64
}

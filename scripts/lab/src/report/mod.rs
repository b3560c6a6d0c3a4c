//! Reports: every one is derived from a [`StageResult`], none knows more than that record.
//!
//! | module | makes |
//! | --- | --- |
//! | [`html`] | the page of a submission and the page of the class |
//! | [`csv`] | the table of the class |
//! | [`gradescope`], [`classroom50`], [`junit`] | what other systems read |
//!
//! What a submission printed ends up in all of them, so a rule holds everywhere: text of others
//! goes through [`plain`], and then through the escaping of the format, never into it raw.

pub mod classroom50;
pub mod csv;
pub mod gradescope;
pub mod html;
pub mod junit;

use std::env;

use anyhow::Result;
use clap::ValueEnum;

use crate::result::{CheckResult, Failure, StageResult, Status};
pub use crate::text::printable as plain;

/// A form that the result of a submission is wanted in, beside our own JSON and the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// result.json: our own, always written
    Json,
    /// results.json
    Gradescope,
    /// result.classroom50.json, with names and links from the environment
    Classroom50,
    /// junit.xml
    Junit,
}

impl Format {
    /// The file it is written to.
    pub fn file(self) -> &'static str {
        match self {
            Self::Json => "result.json",
            Self::Gradescope => "results.json",
            Self::Classroom50 => "result.classroom50.json",
            Self::Junit => "junit.xml",
        }
    }

    /// Fails where what the format needs beyond a result isn't there: before anything is graded.
    pub fn require(self) -> Result<()> {
        match self {
            Self::Classroom50 => classroom50::Origin::of_environment(&env_var).map(drop),
            Self::Json | Self::Gradescope | Self::Junit => Ok(()),
        }
    }

    /// The text of the file.
    pub fn render(self, result: &StageResult) -> Result<String> {
        match self {
            Self::Json => Ok(serde_json::to_string_pretty(result)? + "\n"),
            Self::Gradescope => gradescope::render(result),
            Self::Classroom50 => {
                classroom50::render(result, &classroom50::Origin::of_environment(&env_var)?)
            }
            Self::Junit => junit::render(result),
        }
    }
}

fn env_var(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// What came of a submission.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was graded, whatever the score.
    Graded(StageResult),
    /// It couldn't be, for a reason that isn't its own: somebody has to look.
    Error(String),
}

/// A line of the table of the class.
#[derive(Clone, Debug)]
pub struct Row {
    /// The submission.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// How the message of a submission begins that holds nothing to grade.
pub const NOTHING: &str = "nothing to grade";

/// A graded submission in one word or two.
pub fn verdict(result: &StageResult) -> &'static str {
    if result.build_error.as_ref().is_some_and(|error| error.starts_with(NOTHING)) {
        NOTHING
    } else if result.checks.iter().any(|check| check.status == Status::Build) {
        "does not build"
    } else if result.checks.iter().any(|check| check.status == Status::NotChecked) {
        "graded, but not all was checked"
    } else {
        "graded"
    }
}

/// What a teacher should know of a submission beside its score.
pub fn remarks(result: &StageResult) -> Vec<&str> {
    let nothing = result.build_error.as_deref().filter(|error| error.starts_with(NOTHING));
    nothing.into_iter().chain(result.ignored.iter().map(String::as_str)).collect()
}

/// The word that stands for a status, as on the terminal.
pub fn word(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Fail => "FAIL",
        Status::Timeout => "TIMEOUT",
        Status::Crash => "CRASH",
        Status::NotChecked => "SKIP",
        Status::Needs => "NEEDS",
        Status::Build => "BUILD",
    }
}

/// The lines that explain a check which wasn't passed: a label, and what it says.
pub fn explanation(failure: &Failure) -> Vec<(&'static str, String)> {
    let ran = failure.ran.join("\n");
    let lines = [
        ("tried", &failure.tried),
        ("ran", &ran),
        ("expected", &failure.expected),
        ("saw", &failure.saw),
        ("again", &failure.again),
        ("read", &failure.read),
        ("hint", &failure.hint),
    ];
    let told = lines.into_iter().filter(|(_, text)| !text.is_empty());
    told.map(|(label, text)| (label, plain(text.trim_end()))).collect()
}

/// The same as text, with what the test printed below.
pub fn explanation_text(check: &CheckResult) -> String {
    let Some(failure) = &check.failure else { return String::new() };
    let mut text = String::new();
    for (label, lines) in explanation(failure) {
        for (number, line) in lines.lines().enumerate() {
            let label = if number == 0 { label } else { "" };
            text += &format!("{label:<8}  {line}\n");
        }
    }
    if !failure.output.is_empty() {
        text += &format!("\n{}\n", plain(failure.output.trim_end()));
    }
    text
}

#[cfg(test)]
mod tests;

//! The page of a submission, for its student, and the page of the class, for the teacher.
//!
//! Each is one file without scripts, fonts or anything else to load: it can be mailed. `maud`
//! escapes whatever stands in parentheses; nothing here uses `PreEscaped` but the style sheet.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Outcome, Row, explanation, plain, remarks, verdict, word};
use crate::repo::Stage;
use crate::result::{CheckResult, StageResult, Status};
use crate::rubric::Check;

const STYLE: &str = include_str!("style.css");

/// The page of a submission.
pub fn submission(result: &StageResult) -> String {
    let StageResult { stage, name, submission, score, max_score, .. } = result;
    let title = format!("{stage} {name}: {}", plain(submission));
    let body = html! {
        h1 { (title) }
        p.score { (score) "/" (max_score) }
        p.soft { (result.datetime) ", " (format!("{:.1} s", result.seconds)) }
        @if let Some(error) = &result.build_error {
            h2 { (verdict(result)) }
            pre { (plain(error)) }
        }
        h2 { "Checks" }
        @for check in &result.checks { (check_card(check)) }
        @if !result.ignored.is_empty() {
            h2 { "Not used of what was handed in" }
            ul { @for ignored in &result.ignored { li { (plain(ignored)) } } }
        }
    };
    page(&title, &body)
}

fn check_card(check: &CheckResult) -> Markup {
    html! {
        div.check {
            h3 {
                b class=(colour(check.status)) { (word(check.status)) }
                span.title { (plain(&check.title)) }
                span.number { (check.score) "/" (check.max_score) }
                span.number.soft { (format!("{:.1} s", check.seconds)) }
            }
            @if let Some(failure) = &check.failure {
                dl {
                    @for (label, text) in explanation(failure) {
                        dt { (label) }
                        dd { (text) }
                    }
                }
                @if !failure.output.is_empty() {
                    details {
                        summary { "what the test printed" }
                        pre { (plain(&failure.output)) }
                    }
                }
            }
        }
    }
}

/// The page of the class.
pub fn class(stage: &Stage, checks: &[Check], rows: &[Row]) -> String {
    let title = format!("{} {}: {} submissions", stage.number, stage.name, rows.len());
    let graded: Vec<&StageResult> = rows.iter().filter_map(graded).collect();
    let body = html! {
        h1 { (title) }
        @if let Some(median) = median(&graded) { p { "The median is " (median) " points." } }
        h2 { "What is missed most" }
        (missed(checks, &graded))
        h2 { "Submissions" }
        div.wide { table {
            thead { tr {
                th { "submission" } th.number { "score" } th { "status" }
                th.number { "seconds" } th { "missed" } th { "remarks" }
            } }
            tbody { @for row in rows { (submission_row(row)) } }
        } }
    };
    page(&title, &body)
}

fn graded(row: &Row) -> Option<&StageResult> {
    match &row.outcome {
        Outcome::Graded(result) => Some(result),
        Outcome::Error(_) => None,
    }
}

/// A bar for each check: how many haven't passed it, most first.
fn missed(checks: &[Check], graded: &[&StageResult]) -> Markup {
    let missing = |check: &Check| {
        let of = |result: &&&StageResult| {
            result.checks.iter().any(|it| it.id == check.id && it.status != Status::Ok)
        };
        graded.iter().filter(of).count()
    };
    let mut bars: Vec<_> = checks.iter().map(|check| (missing(check), check)).collect();
    bars.sort_by_key(|(count, _)| std::cmp::Reverse(*count)); // stable: else as in the rubric
    html! {
        div.wide { table { tbody { @for (count, check) in bars {
            tr {
                td.name { (check.title) " " span.soft { (check.id) } }
                td { meter min="0" max=(graded.len().max(1)) value=(count) {} }
                td.number { (count) " of " (graded.len()) }
            }
        } } } }
    }
}

fn submission_row(row: &Row) -> Markup {
    let name = plain(&row.name);
    match &row.outcome {
        Outcome::Graded(result) => html! { tr {
            td.name { a href=(format!("{}/report.html", percent(&row.name))) { (name) } }
            td.number { (result.score) "/" (result.max_score) }
            td { (verdict(result)) }
            td.number { (format!("{:.1}", result.seconds)) }
            td { @for check in result.checks.iter().filter(|it| it.status != Status::Ok) {
                span class=(colour(check.status)) { (check.id) } " "
            } }
            td.name { (shortened(&remarks(result))) }
        } },
        Outcome::Error(error) => html! { tr {
            td.name { (name) } td.number {} td.bad { "error" } td.number {}
            td colspan="2" { (plain(error)) }
        } },
    }
}

fn shortened(remarks: &[&str]) -> String {
    match remarks {
        [] => String::new(),
        [one] => plain(one),
        [first, rest @ ..] => format!("{}; {} more", plain(first), rest.len()),
    }
}

/// The score that half of them reach; of an even number of scores the upper one.
fn median(graded: &[&StageResult]) -> Option<u32> {
    let mut scores: Vec<u32> = graded.iter().map(|result| result.score).collect();
    scores.sort_unstable_by(|a, b| b.cmp(a));
    scores.get(scores.len().saturating_sub(1) / 2).copied()
}

fn colour(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::NotChecked | Status::Needs => "other",
        Status::Fail | Status::Timeout | Status::Crash | Status::Build => "bad",
    }
}

/// A file name as a part of a link.
fn percent(name: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(encode).collect()
}

fn page(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    page.into_string()
}

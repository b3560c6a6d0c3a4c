//! The table of the class, for a spreadsheet.
//!
//! A spreadsheet takes a cell that begins like a formula for one, and a student chooses the name
//! of a folder: such a text gets an apostrophe in front. Numbers are numbers. A submission that
//! couldn't be graded has empty cells, not zeros.

use anyhow::Result;

use super::{Outcome, Row, plain, remarks, verdict};
use crate::result::StageResult;
use crate::rubric::Check;

/// The text of `class.csv`: a line for each of `rows`, a column for each of `checks`.
pub fn class(checks: &[Check], rows: &[Row]) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let ids = checks.iter().map(|check| check.id.as_str());
    csv.write_record(
        ["submission", "score", "max"]
            .into_iter()
            .chain(ids)
            .chain(["status", "seconds", "remarks"]),
    )?;
    for row in rows {
        csv.write_record(match &row.outcome {
            Outcome::Graded(result) => graded(checks, &row.name, result),
            Outcome::Error(error) => failed(checks, &row.name, error),
        })?;
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}

fn graded(checks: &[Check], name: &str, result: &StageResult) -> Vec<String> {
    let mut cells = vec![text(name), result.score.to_string(), result.max_score.to_string()];
    for check in checks {
        let found = result.checks.iter().find(|it| it.id == check.id);
        cells.push(found.map(|it| it.score.to_string()).unwrap_or_default());
    }
    cells.push(verdict(result).to_owned());
    cells.push(format!("{:.1}", result.seconds));
    cells.push(text(&remarks(result).join("; ")));
    cells
}

fn failed(checks: &[Check], name: &str, error: &str) -> Vec<String> {
    let mut cells = vec![text(name)];
    cells.resize(3 + checks.len(), String::new());
    cells.extend(["error".to_owned(), String::new(), text(error)]);
    cells
}

/// A cell that no spreadsheet computes, and that stays on its line.
fn text(text: &str) -> String {
    let text = plain(text).replace(['\n', '\t'], " ");
    let formula = text.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
    if formula { format!("'{text}") } else { text }
}

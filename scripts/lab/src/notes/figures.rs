//! What the bench has measured, on the pages: tables between two marks, and the charts.
//!
//! ```text
//! <!-- bench: small 8 -->
//! …the table, and where it comes from…
//! <!-- end of bench -->
//! ```
//! Interface: [`mend`] the text of a page; [`charts`], each with its file.
//! Rule: the numbers are those of one file, which `cargo lab bench --json` has written.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::measure::Report;
use crate::repo::Repo;

const NUMBERS: &str = "notes/bench/bench.json";
const CHARTS: &str = "notes/src/pictures/bench";
const BEGIN: &str = "<!-- bench: ";
const END: &str = "<!-- end of bench -->";

/// The text of a page with fresh tables.
pub fn mend(repo: &Repo, page: &Path, text: &str) -> Result<String> {
    if !text.contains(BEGIN) {
        return Ok(text.to_owned());
    }
    let report = Report::read(&repo.path(NUMBERS))?;
    let (mut mended, mut open) = (String::new(), None);
    for (line, content) in (1..).zip(text.lines()) {
        let place = || format!("{}:{line}", page.display());
        if let Some(name) = content.strip_prefix(BEGIN).and_then(|it| it.strip_suffix(" -->")) {
            if open.is_some() {
                bail!("{}: a table in a table", place());
            }
            open = Some(line);
            let table = report.table(name).with_context(place)?;
            mended += &format!("{content}\n{table}\n*{}*\n", report.origin());
        } else if content == END && open.take().is_none() {
            bail!("{}: the end of no table", place());
        }
        if open.is_none() {
            mended += &format!("{content}\n");
        }
    }
    match open {
        Some(line) => bail!("{}:{line}: a table without its end, {END}", page.display()),
        None => Ok(mended),
    }
}

/// The charts, where there are numbers.
pub fn charts(repo: &Repo) -> Result<Vec<(PathBuf, String)>> {
    if !repo.path(NUMBERS).exists() {
        return Ok(Vec::new());
    }
    let charts = Report::read(&repo.path(NUMBERS))?.charts()?;
    let place = |name| Path::new(CHARTS).join(format!("{name}.svg"));
    Ok(charts.into_iter().map(|(name, svg)| (place(name), svg)).collect())
}

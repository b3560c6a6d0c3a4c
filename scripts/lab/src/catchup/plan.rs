//! What is to become of each file of a student's lab.
//!
//! Interface: [`plan_all`]. Nothing is written here.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::region::{self, Region};
use crate::repo::{Repo, Stage};

/// What is to become of a file of the student's.
pub struct Plan {
    pub file: PathBuf,
    /// As it is; nothing if it is missing.
    pub before: Option<Vec<u8>>,
    pub after: String,
    /// What there is to say about it.
    pub news: String,
}

impl Plan {
    pub fn changes(&self) -> bool {
        self.before.as_deref() != Some(self.after.as_bytes())
    }
}

/// Everything that can be wrong is found before the first file is written.
pub fn plan_all(here: &Repo, student: &Repo, stage: &Stage) -> Result<Vec<Plan>> {
    let regions = region::all(here)?;
    let mut by_file: BTreeMap<&Path, Vec<&Region>> = BTreeMap::new();
    for region in &regions {
        by_file.entry(&region.file).or_default().push(region);
    }
    let earlier = |region: &&Region| region.stage() < stage.number.as_str();
    let mut plans = Vec::new();
    for (file, regions) in by_file {
        let (earlier, later): (Vec<_>, Vec<_>) = regions.into_iter().partition(earlier);
        if !earlier.is_empty() {
            plans.push(plan(here, student, file, &earlier, &later)?);
        }
    }
    Ok(plans)
}

fn plan(
    here: &Repo,
    student: &Repo,
    file: &Path,
    earlier: &[&Region],
    later: &[&Region],
) -> Result<Plan> {
    let before = match fs::read(student.path(file)) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        bytes => Some(bytes.with_context(|| student.path(file).display().to_string())?),
    };
    let text = before.as_ref().and_then(|bytes| str::from_utf8(bytes).ok());
    let (after, news) = match text.map(|text| (text, fill(file, text, earlier))) {
        Some((text, Ok(after))) => {
            let news = written(text, earlier);
            (after, news)
        }
        broken => {
            let why = match (&before, broken) {
                (None, _) => "it was missing".to_owned(),
                (_, Some((_, Err(error)))) => format!("{error:#}"),
                _ => "it is no text".to_owned(),
            };
            let reference =
                fs::read_to_string(here.path(file)).with_context(|| file.display().to_string())?;
            let given = |id: &str| earlier.iter().any(|region| region.id == id);
            let given = region::blank(file, &reference, &given)?;
            let (after, lost) = carry_over(file, given, text.unwrap_or_default(), later)?;
            (after, replaced(&why, before.is_some(), later, &lost))
        }
    };
    Ok(Plan { file: file.to_owned(), before, after, news })
}

/// The student's text with the earlier regions written.
fn fill(file: &Path, text: &str, earlier: &[&Region]) -> Result<String> {
    let bodies = earlier.iter().map(|region| (region.id.clone(), region.body.clone())).collect();
    let filled = region::fill(file, text, &bodies)?;
    let gone: Vec<&str> =
        earlier.iter().filter(|it| body(text, &it.id).is_none()).map(|it| it.id.as_str()).collect();
    match gone[..] {
        [] => Ok(filled),
        _ => bail!("{}: the markers of {} are gone", file.display(), gone.join(", ")),
    }
}

/// Puts the student's later regions into the file as it was given. Returns it, and the ids of
/// those that couldn't be found.
fn carry_over<'a>(
    file: &Path,
    given: String,
    theirs: &str,
    later: &[&'a Region],
) -> Result<(String, Vec<&'a str>)> {
    let (mut text, mut lost) = (given, Vec::new());
    for region in later {
        let bodies =
            body(theirs, &region.id).map(|body| BTreeMap::from([(region.id.clone(), body)]));
        let filled = bodies.map(|bodies| region::fill(file, &text, &bodies)).transpose()?;
        // What they wrote may itself look like a marker.
        match filled.filter(|text| region::blank(file, text, &|_| true).is_ok()) {
            Some(filled) => text = filled,
            None => lost.push(region.id.as_str()),
        }
    }
    Ok((text, lost))
}

/// The body of a region, without its indentation, also in a file whose other markers are broken.
fn body(text: &str, id: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let starts = |line: &str, marker: &str| line.trim_start().starts_with(marker);
    let first = lines.iter().position(|line| starts(line, &format!("// LAB {id}:")))?;
    let length = lines[first + 1..]
        .iter()
        .position(|line| starts(line, "// END ") || starts(line, "// LAB "))?;
    let (body, end) = (&lines[first + 1..first + 1 + length], lines[first + 1 + length]);
    let indent = &lines[first][..lines[first].len() - lines[first].trim_start().len()];
    let dedent =
        |line: &&str| format!("{}\n", line.strip_prefix(indent).unwrap_or(line.trim_start()));
    (end.trim() == format!("// END {id}")).then(|| body.iter().map(dedent).collect())
}

fn written(text: &str, earlier: &[&Region]) -> String {
    let new = earlier.iter().filter(|region| body(text, &region.id).as_ref() != Some(&region.body));
    let ids: Vec<&str> = new.map(|region| region.id.as_str()).collect();
    format!("written: {}", ids.join(", "))
}

fn replaced(why: &str, existed: bool, later: &[&Region], lost: &[&str]) -> String {
    let mut news = format!("REPLACED by the file as it was given out: {why}");
    let carried: Vec<&str> =
        later.iter().map(|it| it.id.as_str()).filter(|id| !lost.contains(id)).collect();
    if !carried.is_empty() {
        news += &format!("\n    carried over: {}", carried.join(", "));
    }
    if existed && !lost.is_empty() {
        news +=
            &format!("\n    NOT CARRIED OVER: {}: its markers are broken, too", lost.join(", "));
    }
    if existed {
        news += "\n    what was written outside the markers is in the kept file only";
    }
    news
}

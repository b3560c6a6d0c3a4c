//! Regions: the lines that a student writes, between two markers.
//!
//! ```text
//! // LAB 06.send_windows: send window by window, each from a mapping of it
//! …the answer, or in an export a call of `missing("06.send_windows")`…
//! // END 06.send_windows
//! ```
//! Purpose: find them, take answers out, put answers in.
//! Interface: [`all`] regions of a checkout, [`files`] that hold them, [`blank`] and [`fill`] for
//! the text of one file.
//! Rules: a marker has a line of its own, in `steps/*/src/*.rs` or `shared/src/*.rs`. An id is a
//! stage and a name, and stands once in the whole checkout. Regions are flat. The markers stay
//! where they are whatever is between them. What breaks a rule is an error with file and line.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::repo::Repo;

mod markers;

use markers::parse;

/// A region, blank or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// `06.send_windows`
    pub id: String,
    /// What to do, in a line.
    pub task: String,
    /// `shared/src/mapped.rs`
    pub file: PathBuf,
    /// The line of its first marker, from 1.
    pub line: usize,
    /// What is between the markers, as if these were not indented.
    pub body: String,
}

impl Region {
    /// `06`
    pub fn stage(&self) -> &str {
        &self.id[..2]
    }

    /// Is it still to be written?
    pub fn is_blank(&self) -> bool {
        let call = format!("missing(\"{}\")", self.id);
        let mut code = self.body.lines().filter(|line| !line.trim_start().starts_with("//"));
        code.any(|line| line.contains(&call))
    }

    /// `shared/src/mapped.rs:57`
    pub fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.line)
    }
}

/// All regions of a checkout, by id.
pub fn all(repo: &Repo) -> Result<Vec<Region>> {
    let stages = repo.stages()?;
    let mut regions = BTreeMap::<String, Region>::new();
    for file in sources(repo)? {
        for region in parse(&file, &read(repo, &file)?)? {
            let Some(stage) = stages.iter().find(|stage| stage.number == region.stage()) else {
                bail!("{}: {}: there is no stage {}", region.place(), region.id, region.stage());
            };
            if file.starts_with("steps") && !file.starts_with(stage.folder()) {
                bail!("{}: {} is in the folder of another stage", region.place(), region.id);
            }
            if let Some(first) = regions.get(&region.id) {
                bail!("{}: {} is already in {}", region.place(), region.id, first.place());
            }
            regions.insert(region.id.clone(), region);
        }
    }
    Ok(regions.into_values().collect())
}

/// The regions of one file's text, in order.
pub fn of_text(file: &Path, text: &str) -> Result<Vec<Region>> {
    parse(file, text)
}

/// The files that hold regions, by path: of a submission, these are taken and no others.
pub fn files(repo: &Repo) -> Result<Vec<PathBuf>> {
    let mut files: Vec<_> = all(repo)?.into_iter().map(|region| region.file).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// Takes the answers out of a file's text, all but those whose id is to be kept.
pub fn blank(file: &Path, text: &str, keep: &dyn Fn(&str) -> bool) -> Result<String> {
    let home = if file.starts_with("shared") { "crate" } else { "shared" };
    rewrite(file, text, |region| {
        (!keep(&region.id)).then(|| format!("{home}::exercise::missing(\"{}\");\n", region.id))
    })
}

/// Puts these bodies between the markers of a file's text, by id; other regions stay as they are.
pub fn fill(file: &Path, text: &str, bodies: &BTreeMap<String, String>) -> Result<String> {
    rewrite(file, text, |region| bodies.get(&region.id).cloned())
}

/// Where regions can be.
fn sources(repo: &Repo) -> Result<Vec<PathBuf>> {
    let mut folders = vec![PathBuf::from("shared/src")];
    folders.extend(repo.stages()?.iter().map(|stage| stage.folder().join("src")));
    let mut files = Vec::new();
    for folder in folders {
        let entries = repo.path(&folder).read_dir();
        for entry in entries.with_context(|| folder.display().to_string())? {
            let file = folder.join(entry?.file_name());
            if file.extension().is_some_and(|extension| extension == "rs") {
                files.push(file);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read(repo: &Repo, file: &Path) -> Result<String> {
    fs::read_to_string(repo.path(file)).with_context(|| file.display().to_string())
}

/// Replaces the bodies for which there is a new one, and nothing else.
fn rewrite(file: &Path, text: &str, new: impl Fn(&Region) -> Option<String>) -> Result<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut result = String::new();
    let mut copied = 0;
    for region in parse(file, text)? {
        if let Some(body) = new(&region) {
            let marker = lines[region.line - 1];
            let indent = &marker[..marker.len() - marker.trim_start().len()];
            result += &lines[copied..region.line].concat();
            for line in body.lines() {
                let indent = if line.is_empty() { "" } else { indent };
                result.extend([indent, line, "\n"]);
            }
            copied = region.line + region.body.lines().count();
        }
    }
    result += &lines[copied..].concat();
    Ok(result)
}

#[cfg(test)]
mod tests;

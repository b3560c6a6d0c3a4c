//! A variant of the gallery: a patch of the reference, wrong in a plausible way or right in
//! another way.
//!
//! A file `tests/gallery/06/wrong/maps-an-empty-file.patch` begins with `caught by: CHECK` (a
//! wrong one) and some sentences on what this program does and why; then comes a unified diff as
//! `git diff` writes it. It changes only files that hold regions, as a submission could.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::region;
use crate::repo::{Repo, Stage};

/// A program of the gallery.
#[derive(Debug)]
pub struct Variant {
    /// `wrong/maps-an-empty-file`
    pub name: String,
    /// The check that must catch it; `None` for a right one.
    pub caught_by: Option<String>,
    patch: PathBuf,
}

/// The variants of a stage, the wrong ones first, each kind by name.
pub fn of_stage(repo: &Repo, stage: &Stage) -> Result<Vec<Variant>> {
    let mut variants = Vec::new();
    for kind in ["wrong", "right"] {
        let folder = repo.path("tests/gallery").join(&stage.number).join(kind);
        let mut patches: Vec<PathBuf> = match folder.read_dir() {
            Ok(entries) => entries.map(|it| Ok(it?.path())).collect::<Result<_>>()?,
            Err(_) => Vec::new(),
        };
        patches.sort();
        for patch in patches {
            variants.push(Variant::load(kind, patch)?);
        }
    }
    Ok(variants)
}

impl Variant {
    fn load(kind: &str, patch: PathBuf) -> Result<Self> {
        let place = patch.display().to_string();
        let text = fs::read_to_string(&patch).with_context(|| place.clone())?;
        let stem = patch.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("{kind}/{stem}");
        let first = text.lines().next().unwrap_or_default();
        let caught_by = first.strip_prefix("caught by: ").map(|id| id.trim().to_owned());
        ensure!(
            caught_by.is_some() == (kind == "wrong"),
            "{place}: `caught by: CHECK` is the first line of a wrong program, and only of that"
        );
        Ok(Self { name, caught_by, patch })
    }

    /// The changed files, by their path, as they are in this variant.
    ///
    /// # Errors
    /// The patch doesn't fit the reference any more, or changes a file that holds no region.
    pub fn files(&self, reference: &Repo) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        let with_regions = region::files(reference)?;
        let scratch = tempfile::tempdir()?;
        for file in &with_regions {
            let copy = scratch.path().join(file);
            fs::create_dir_all(copy.parent().context("a file has a folder")?)?;
            fs::copy(reference.path(file), copy)?;
        }
        self.apply(scratch.path())?;
        let mut changed = BTreeMap::new();
        for file in with_regions {
            let new = fs::read(scratch.path().join(&file)).with_context(|| self.name.clone())?;
            if new != fs::read(reference.path(&file))? {
                changed.insert(file, new);
            }
        }
        ensure!(!changed.is_empty(), "{}: the patch changes nothing", self.patch.display());
        Ok(changed)
    }

    /// Files that hold no region aren't there, so a patch of one of them fails.
    fn apply(&self, folder: &Path) -> Result<()> {
        let mut git = Command::new("git");
        git.arg("apply").arg("--whitespace=nowarn").arg(&self.patch).current_dir(folder);
        // Whatever repository the folder is in, it is none of git's business here.
        git.env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap_or(folder));
        let output = git.output().context("git apply")?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            bail!("{} doesn't fit the reference any more: {why}", self.patch.display());
        }
        Ok(())
    }
}

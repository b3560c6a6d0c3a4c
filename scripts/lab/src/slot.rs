//! A tree to build in: a copy of a checkout, into which the files of one program after the other
//! are put.
//!
//! Cargo sees a change by the time of a file. So a file is written only when its contents change:
//! what two programs have in common isn't built again, and what differs always is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::export;
use crate::repo::Repo;

/// What no build and no check needs.
const LEFT_OUT: [&str; 6] = ["tests/gallery", "notes", ".ci", ".github", ".devcontainer", ".lab"];

/// A tree and its original files.
pub struct Slot {
    repo: Repo,
    original: BTreeMap<PathBuf, Vec<u8>>,
}

impl Slot {
    /// Makes `folder` a copy of what git tracks of `source`, or brings it up to date.
    pub fn new(source: &Repo, folder: &Path) -> Result<Self> {
        let mut original = BTreeMap::new();
        let left_out = |file: &Path| LEFT_OUT.iter().any(|part| file.starts_with(part));
        for file in export::tracked::files(source)?.into_iter().filter(|file| !left_out(file)) {
            let contents =
                fs::read(source.path(&file)).with_context(|| file.display().to_string())?;
            original.insert(file, contents);
        }
        for (file, contents) in &original {
            write(&folder.join(file), contents)?;
        }
        Ok(Self { repo: Repo::at(folder)?, original })
    }

    /// The tree.
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    /// Puts a program into the tree: its files, and the original ones elsewhere.
    pub fn put(&self, files: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
        for (file, original) in &self.original {
            write(&self.repo.path(file), files.get(file).unwrap_or(original))?;
        }
        Ok(())
    }
}

fn write(path: &Path, contents: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == contents) {
        return Ok(());
    }
    let what = || path.display().to_string();
    fs::create_dir_all(path.parent().with_context(what)?).with_context(what)?;
    fs::write(path, contents).with_context(what)
}

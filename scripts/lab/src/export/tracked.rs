//! Which files belong to a checkout.
//!
//! Interface: [`files`].
//! Rule: git knows. A checkout without git, unpacked from an archive, is taken as it lies there,
//! but for what `.gitignore` names.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::repo::Repo;

/// The files, relative to the top level, in order.
pub fn files(repo: &Repo) -> Result<Vec<PathBuf>> {
    let mut files = if repo.path(".git").exists() { of_git(repo)? } else { of_archive(repo)? };
    files.sort();
    Ok(files)
}

fn of_git(repo: &Repo) -> Result<Vec<PathBuf>> {
    let names = super::git(repo.root(), &["ls-files", "-z"])?;
    let names = String::from_utf8(names).context("git ls-files")?;
    Ok(names.split_terminator('\0').map(PathBuf::from).collect())
}

fn of_archive(repo: &Repo) -> Result<Vec<PathBuf>> {
    let ignored = fs::read_to_string(repo.path(".gitignore")).context(".gitignore")?;
    let ignored: Vec<&Path> =
        ignored.lines().filter_map(|line| line.strip_prefix('/')).map(Path::new).collect();
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = repo.path(&folder).read_dir();
        for entry in entries.with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if ignored.contains(&path.as_path()) {
                continue;
            }
            let list = if entry.file_type()?.is_dir() { &mut folders } else { &mut files };
            list.push(path);
        }
    }
    Ok(files)
}

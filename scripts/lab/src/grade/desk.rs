//! A place where submissions are built, one after the other: a pristine tree and its target.
//!
//! Desks stay from run to run in `.lab/grade`, so that the dependencies are built once. Whoever
//! holds the lock of a desk has it alone; the kernel gives it back when the holder ends, see
//! flock(2).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::compile::Tree;
use crate::repo::Repo;
use crate::rustc;
use crate::submission::{HandedOut, Taken};

/// How long the program of a submission may take to build, its dependencies being built.
const BUILD_LIMIT: Duration = Duration::from_secs(180);

/// A desk, held.
#[derive(Debug)]
pub struct Desk {
    dir: PathBuf,
    environment: Vec<(String, OsString)>,
    _lock: Flock<File>,
}

impl Desk {
    /// The first that nobody holds.
    pub fn claim(repo: &Repo) -> Result<Self> {
        for number in 0..1000 {
            if let Some(desk) = Self::lock(&directory(repo, number))? {
                return Ok(desk);
            }
        }
        bail!("all desks in {} are taken", repo.state().join("grade").display())
    }

    fn lock(dir: &Path) -> Result<Option<Self>> {
        fs::create_dir_all(dir.join("tree")).with_context(|| format!("{}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let lock = File::create(dir.join("lock"))?;
        let lock = match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, error)) => {
                return Err(error).with_context(|| format!("lock {}", dir.display()));
            }
        };
        let environment = rustc::install(&dir, &dir.join("tree"), &dir.join("target"))?;
        Ok(Some(Self { dir, environment, _lock: lock }))
    }

    /// Puts what was handed out into the tree, with the files that were taken in their places.
    pub fn fill(&self, handed_out: &HandedOut, taken: &Taken) -> Result<()> {
        let mut known = BTreeSet::new();
        for (path, bytes) in handed_out.files() {
            known.insert(self.path(path));
            let bytes = taken.files.get(path).map_or(bytes, |text| text.as_bytes());
            // cargo goes by the time of a file: what may differ from submission to submission is
            // always written anew, and the rest only if it has changed.
            let file = self.path(path);
            if handed_out.has_regions(path) || fs::read(&file).ok().as_deref() != Some(bytes) {
                put(&file, bytes)?;
            }
        }
        remove_others(&self.tree_dir(), &known)
    }

    fn tree_dir(&self) -> PathBuf {
        self.dir.join("tree")
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.tree_dir().join(relative)
    }

    /// The tree, to be built as a stranger's.
    ///
    /// It has to be built by then, `until`, whatever it needs.
    pub fn tree(&self, until: Option<Instant>) -> Result<Tree> {
        let mut tree = Tree::at(&self.tree_dir())?;
        tree.named = None;
        tree.target = Some(self.dir.join("target"));
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        tree.deadline = left.map_or(BUILD_LIMIT, |left| left.min(BUILD_LIMIT));
        tree.environment = self.environment.clone();
        Ok(tree)
    }

    /// Gives the other `desks` what is built in this one already.
    pub fn share(&self, repo: &Repo, desks: usize) -> Result<()> {
        for number in 0..desks {
            let dir = directory(repo, number);
            if !dir.join("target").exists() {
                fs::create_dir_all(&dir)?;
                let (from, new) = (self.dir.join("target"), dir.join("target.new"));
                // With their times, by which cargo goes.
                let copy = Command::new("cp").args(["-a", "-T"]).args([&from, &new]).status();
                if !copy.context("cp")?.success() {
                    bail!("can't copy {} to {}", from.display(), new.display());
                }
                fs::rename(&new, dir.join("target"))?;
            }
        }
        Ok(())
    }
}

fn directory(repo: &Repo, number: usize) -> PathBuf {
    repo.state().join("grade").join(format!("desk-{number}"))
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let put = || {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let _ = fs::remove_file(path); // whatever was there
        fs::write(path, bytes)
    };
    put().with_context(|| format!("{}", path.display()))
}

/// Removes what the desk holds of an earlier version.
fn remove_others(dir: &Path, known: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in dir.read_dir().with_context(|| format!("{}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, known)?;
        } else if !known.contains(&path) {
            fs::remove_file(&path).with_context(|| format!("{}", path.display()))?;
        }
    }
    Ok(())
}

//! What the tool remembers of a checkout: scores, failing checks, hints given.
//!
//! It stands in `.lab/progress.json`, by the number of a stage and the id of a region. Two rules:
//! it is replaced whole (a new file, then `rename`), under a lock, so that neither a Ctrl-C nor a
//! second command in another terminal damages it; and nothing that is wrong with it ever stops a
//! command. A file that can't be read is kept beside the new one, with a note.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::repo::Repo;
use crate::result::{CheckResult, Failure, StageResult, Status};

/// The version of the file.
const SCHEMA: &str = "process-pool-lab/progress/v1";

/// The whole file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    schema: String,
    /// By the number of the stage.
    pub stages: BTreeMap<String, StageProgress>,
    /// How many hints were given, by the id of the region.
    pub hints: BTreeMap<String, usize>,
}

/// A stage that was checked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StageProgress {
    /// The last full run.
    pub last: Option<Score>,
    /// The best full run, the first of equals.
    pub best: Option<Score>,
    /// The ids of the checks that failed when they were run last: those of the last run first, in
    /// the order of the rubric.
    pub failing: Vec<String>,
    /// The region that the first of them came to and found blank.
    pub blank: Option<String>,
    /// The region of an earlier stage without which some checks could not be judged.
    pub needs: Option<String>,
    /// At the last run the program didn't build.
    pub build_failed: bool,
}

/// The score of a full run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// Points given.
    pub score: u32,
    /// When, `2026-11-21T10:24:17Z`.
    pub date: String,
}

/// Remembers what came of a check. What can't be remembered is a note on standard error.
pub fn record(repo: &Repo, result: &StageResult) {
    update(repo, |progress| {
        progress.stages.entry(result.stage.clone()).or_default().take(result);
    });
}

/// What is remembered.
pub fn load(repo: &Repo) -> Progress {
    if !file(repo).exists() {
        return Progress::default(); // and nothing is made: to look changes nothing
    }
    let _lock = lock(repo);
    read(repo)
}

/// Changes what is remembered. `change` has its effect for this command even if it can't be kept.
pub fn update<T>(repo: &Repo, change: impl FnOnce(&mut Progress) -> T) -> T {
    let lock = lock(repo);
    let mut progress = read(repo);
    let answer = change(&mut progress);
    if let Err(error) = lock.and_then(|_lock| write(repo, progress)) {
        note(&format!("this is not remembered: {error:#}"));
    }
    answer
}

impl StageProgress {
    fn take(&mut self, result: &StageResult) {
        self.build_failed = result.build_error.is_some();
        if !self.build_failed {
            let failed = |status| matches!(status, Status::Fail | Status::Timeout | Status::Crash);
            let failing = result.checks.iter().filter(|check| failed(check.status));
            let first = failing.clone().find_map(|check| check.failure.as_ref());
            self.blank = first.and_then(Failure::blank).map(ToOwned::to_owned);
            let failing: Vec<String> = failing.map(|check| check.id.clone()).collect();
            // Perhaps only some checks were run: what is known of the others stays.
            self.failing.retain(|id| result.checks.iter().all(|check| check.id != *id));
            self.failing.splice(0..0, failing);
            self.needs = result.checks.iter().find_map(needs);
        }
        if result.max_score < 100 {
            return;
        }
        let score = Score { score: result.score, date: result.datetime.clone() };
        if self.best.as_ref().is_none_or(|best| best.score < score.score) {
            self.best = Some(score.clone());
        }
        self.last = Some(score);
    }
}

/// A check that couldn't be judged says why: `needs 03.send_fd, which fails`.
fn needs(check: &CheckResult) -> Option<String> {
    let saw = &check.failure.as_ref()?.saw;
    let (region, _) = saw.strip_prefix("needs ")?.split_once(',')?;
    (check.status == Status::Needs).then(|| region.to_owned())
}

fn file(repo: &Repo) -> PathBuf {
    repo.state().join("progress.json")
}

/// Held until it is dropped.
fn lock(repo: &Repo) -> Result<Flock<File>> {
    let folder = repo.state();
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let path = folder.join("lock");
    let file = File::options().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("open {}", path.display()))?;
    let locked = Flock::lock(file, FlockArg::LockExclusive);
    locked.map_err(|(_, errno)| errno).with_context(|| format!("lock {}", path.display()))
}

/// What the file says; nothing, if it can't be understood.
fn read(repo: &Repo) -> Progress {
    let path = file(repo);
    match parse(&path) {
        Ok(progress) => progress,
        Err(error) => {
            let kept = match put_aside(&path) {
                Ok(kept) => format!("it is kept as {}", kept.display()),
                Err(error) => format!("it stays as it is: {error:#}"),
            };
            note(&format!("scores and hints begin anew, as {} {error:#}; {kept}", path.display()));
            Progress::default()
        }
    }
}

fn parse(path: &Path) -> Result<Progress> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Progress::default()),
        text => text.context("can't be read")?,
    };
    let progress: Progress = serde_json::from_str(&text).context("is damaged")?;
    if progress.schema != SCHEMA {
        bail!("is of another version of this tool");
    }
    Ok(progress)
}

/// Gives the file a name that is free.
fn put_aside(path: &Path) -> Result<PathBuf> {
    let mut names = (1..).map(|number| path.with_file_name(format!("progress-{number}.json")));
    let free = names.find(|name| !name.exists()).unwrap_or_else(|| path.to_owned());
    fs::rename(path, &free)?;
    Ok(free)
}

fn write(repo: &Repo, mut progress: Progress) -> Result<()> {
    progress.schema = SCHEMA.to_owned();
    let readable = Permissions::from_mode(0o666); // less the umask, as for any file
    let file = tempfile::Builder::new().permissions(readable).tempfile_in(repo.state());
    let mut file = file.context("a new file in .lab")?;
    serde_json::to_writer_pretty(&mut file, &progress).context("write .lab/progress.json")?;
    file.write_all(b"\n").context("write .lab/progress.json")?;
    file.persist(self::file(repo)).context("rename to .lab/progress.json")?;
    Ok(())
}

fn note(text: &str) {
    eprintln!("note: {text}");
}

#[cfg(test)]
mod tests;

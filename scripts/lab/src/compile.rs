//! Builds what a check runs: the program of a tree, and the tests of this checkout.
//!
//! cargo runs under a supervisor, too, so that a build that never ends does end, and Ctrl-C leaves
//! nothing behind. A locked `Cargo.lock` is used as it is; the network is needed only for crates
//! that aren't here yet.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::repo::{Repo, Stage};
use crate::schedule::{self, Interrupted, Job};
use crate::supervise::End;

/// How long cargo may take: the first build on a slow machine takes minutes.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// A tree whose programs are checked.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Where it is.
    pub repo: Repo,
    /// How the user named it; `None` for this checkout.
    pub named: Option<PathBuf>,
    /// Where cargo puts what it builds; `None` for where the user wants it.
    pub target: Option<PathBuf>,
    /// How long cargo may take.
    pub deadline: Duration,
    /// What cargo is told by its environment.
    pub environment: Vec<(String, OsString)>,
}

/// What rustc, or cargo, said of a program that doesn't build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError(pub String);

impl Tree {
    /// This checkout.
    pub fn here(repo: &Repo) -> Self {
        Self {
            repo: repo.clone(),
            named: None,
            target: None,
            deadline: DEADLINE,
            environment: Vec::new(),
        }
    }

    /// Another tree, as it is. It is built in a place of its own, whatever the user has set: in a
    /// place that two trees share, cargo takes the program of one for that of the other.
    pub fn at(dir: &Path) -> Result<Self> {
        let here = Self::here(&Repo::at(dir)?);
        let target = Some(here.repo.path("target"));
        Ok(Self { named: Some(dir.to_owned()), target, ..here })
    }

    /// Builds the program of a stage and says where it is. The next build may replace it.
    pub fn program(&self, stage: &Stage) -> Result<Result<PathBuf, BuildError>> {
        let package = stage.package();
        let built = self.cargo(&["build", "--package", &package, "--bin", &package], "bin")?;
        Ok(built.map(|mut executables| executables.pop().unwrap_or_default()))
    }

    /// The same, as fast as the compiler can make it.
    pub fn release(&self, stage: &Stage) -> Result<Result<PathBuf, BuildError>> {
        let package = stage.package();
        let args = ["build", "--release", "--package", &package, "--bin", &package];
        let built = self.cargo(&args, "bin")?;
        Ok(built.map(|mut executables| executables.pop().unwrap_or_default()))
    }

    /// Builds the tests of a stage and says where they are.
    pub fn tests(&self, stage: &Stage) -> Result<PathBuf> {
        let (package, target) = (stage.package(), stage.test_target());
        let command = ["test", "--no-run", "--package", &package, "--test", &target];
        match self.cargo(&command, "test")? {
            Ok(mut executables) => executables.pop().context("cargo built no tests"),
            Err(BuildError(said)) => bail!(
                "the tests in {} don't build, so nothing can be checked:\n{said}",
                self.repo.root().display()
            ),
        }
    }

    /// Runs cargo in the tree and returns the executables of this `kind` that it has built.
    fn cargo(&self, args: &[&str], kind: &str) -> Result<Result<Vec<PathBuf>, BuildError>> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut job = Job::new(cargo, self.deadline);
        job.command.extend(args.iter().map(Into::into));
        job.command.extend(["--message-format=json", "--color=never"].map(Into::into));
        job.dir = self.repo.root().to_owned();
        job.output = 64 << 20;
        job.environment.clone_from(&self.environment);
        if let Some(target) = &self.target {
            job.environment.push(("CARGO_TARGET_DIR".to_owned(), target.into()));
        }
        let verdict = schedule::one(job)?;
        let messages: Vec<Line> =
            verdict.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        match verdict.end {
            End::Exited(0) => Ok(Ok(executables(messages, kind))),
            End::Exited(_) => Ok(Err(BuildError(said(messages, &verdict.stderr)))),
            End::Deadline => {
                let minutes = self.deadline.as_secs() / 60;
                Ok(Err(BuildError(format!("cargo wasn't done after {minutes} minutes"))))
            }
            End::Signal(libc::SIGINT) => Err(Interrupted.into()),
            End::Signal(signal) => bail!("cargo was killed by signal {signal}"),
            other => bail!("cargo: {other:?}"),
        }
    }
}

/// A line of `cargo --message-format=json`: those that matter here.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Line {
    CompilerMessage {
        message: Diagnostic,
    },
    CompilerArtifact {
        target: Target,
        executable: Option<PathBuf>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Diagnostic {
    level: String,
    rendered: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

fn executables(messages: Vec<Line>, wanted: &str) -> Vec<PathBuf> {
    let executable = |message| match message {
        Line::CompilerArtifact { target, executable } => {
            executable.filter(|_| target.kind.iter().any(|kind| kind == wanted))
        }
        _ => None,
    };
    messages.into_iter().filter_map(executable).collect()
}

/// rustc's errors; without any it was cargo itself that failed.
fn said(messages: Vec<Line>, complaints: &str) -> String {
    let error = |message| match message {
        Line::CompilerMessage { message } if message.level.starts_with("error") => message.rendered,
        _ => None,
    };
    let errors: Vec<String> = messages.into_iter().filter_map(error).collect();
    // cargo counts the errors, rustc says the same in a message without a place.
    let is_summary = |it: &&String| it.starts_with("error: aborting due to");
    let errors: Vec<&String> = errors.iter().filter(|it| !is_summary(it)).collect();
    match errors.is_empty() {
        true => complaints.trim_end().to_owned(),
        false => errors.iter().map(|it| it.trim_end()).collect::<Vec<_>>().join("\n\n"),
    }
}

//! A running program of a play: what it says, what it is told, and its end.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::scene::{PATIENCE, wait_until};
use crate::text::printable;

/// A running program.
pub struct Actor {
    pub process: Child,
    pub input: Option<ChildStdin>,
    pub output: BufReader<ChildStdout>,
    /// What it says on standard error, in a file.
    pub errors: PathBuf,
    /// The name of its records.
    pub name: String,
    pub pid: i32,
}

impl Actor {
    /// The pids of its children: of a server, the workers in the order of their start.
    pub fn children(&self) -> Result<Vec<i32>> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        let children = fs::read_to_string(&path).with_context(|| path)?;
        Ok(children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    }

    /// Gives it a line and waits for its answer.
    pub fn ask(&mut self, line: &str) -> Result<()> {
        self.say(line)?;
        self.line().map(drop)
    }

    /// Gives it a line.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("it has no input any more")?;
        writeln!(input, "{line}").context("talk to a client")
    }

    /// The next line of its output.
    pub fn line(&mut self) -> Result<String> {
        let patience = PollTimeout::try_from(PATIENCE)?;
        let fd = PollFd::new(self.output.get_ref().as_fd(), PollFlags::POLLIN);
        if self.output.buffer().is_empty() && poll(&mut [fd], patience)? == 0 {
            bail!("waited {} s in vain: a program says something", PATIENCE.as_secs());
        }
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("the program ended early: {}", self.complaint());
        }
        Ok(line)
    }

    /// Waits for its end, which must be a good one.
    pub fn succeed(&mut self) -> Result<()> {
        match self.end()?.success() {
            true => Ok(()),
            false => bail!("a client failed: {}", self.complaint()),
        }
    }

    /// Waits for its end.
    pub fn end(&mut self) -> Result<ExitStatus> {
        drop(self.input.take());
        let mut ended = None;
        wait_until("a program ends", || {
            ended = self.process.try_wait().context("waitpid")?;
            Ok(ended.is_some())
        })?;
        ended.context("a program ends")
    }

    fn complaint(&self) -> String {
        let said = fs::read_to_string(&self.errors).unwrap_or_default();
        let line = said.lines().rfind(|line| line.contains("error")).or(said.lines().last());
        printable(line.unwrap_or("it said nothing"))
    }
}

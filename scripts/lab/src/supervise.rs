//! `lab supervise`: runs one command to its end, whatever it does, and leaves nobody behind.
//!
//! Whatever this tool runs, a test or cargo, has a supervisor of its own. It is a process, because
//! being a subreaper is a property of a process: the orphans of a test come to its supervisor and
//! can't be confused with another test's. It is this program executed once more, not a fork, so
//! that it starts from a clean state.
//!
//! Its standard input is a pipe that nobody writes to: when it ends, the tool has been stopped or
//! killed, and the supervisor ends its family and leaves. Its standard output takes one line of
//! JSON, a [`Verdict`].

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::statvfs::statvfs;
use nix::sys::wait::WaitStatus;
use nix::unistd::setsid;
use serde::{Deserialize, Serialize};

use crate::family;
use crate::pipe::{Output, wait_readable};
use crate::sandbox::Cell;

/// `supervise --deadline SECONDS --output BYTES --processes N [--cell JSON] -- COMMAND…`
#[derive(clap::Args)]
pub struct Args {
    /// Seconds after which the command is ended by force
    #[arg(long)]
    deadline: f64,
    /// How much is kept of what it prints
    #[arg(long)]
    output: usize,
    /// More than so many are a bomb
    #[arg(long)]
    processes: usize,
    /// What it may do
    #[arg(long)]
    cell: Option<String>,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// What came of a command.
#[derive(Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// How it ended.
    pub end: End,
    /// How long it took.
    pub seconds: f64,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
    /// Who couldn't be ended: nobody, as a rule.
    pub stuck: Vec<i32>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// With this exit status.
    Exited(i32),
    /// By this signal.
    Signal(i32),
    /// By force, at its deadline.
    Deadline,
    /// By force, as it had started so many processes.
    Bomb(usize),
    /// By force, as it was filling the disk.
    Flood,
    /// It could not be started, or not be watched any longer.
    Lost(String),
}

/// Runs the command and prints the verdict.
pub fn run(args: &Args) -> Result<ExitCode> {
    let verdict = match supervise(args) {
        Ok(verdict) => verdict,
        Err(error) => Verdict::lost(format!("{error:#}")),
    };
    serde_json::to_writer(io::stdout(), &verdict).context("write the verdict")?;
    Ok(ExitCode::SUCCESS)
}

impl Verdict {
    /// There is no more to say than this.
    pub fn lost(why: String) -> Self {
        let (stdout, stderr, stuck) = (String::new(), String::new(), Vec::new());
        Self { end: End::Lost(why), seconds: 0.0, stdout, stderr, stuck }
    }
}

fn supervise(args: &Args) -> Result<Verdict> {
    let cell: Option<Cell> = args.cell.as_deref().map(serde_json::from_str).transpose()?;
    let _ = setsid(); // the terminal's Ctrl-C is the tool's alone
    family::adopt_orphans().context("prctl PR_SET_CHILD_SUBREAPER")?;
    family::go_first();
    let mut watched = SigSet::empty();
    watched.add(Signal::SIGCHLD);
    watched.thread_block().context("block SIGCHLD")?;
    let ended = SignalFd::with_flags(&watched, SfdFlags::SFD_NONBLOCK).context("signalfd")?;
    if let Some(cell) = &cell {
        cell.enter()?;
    }
    let begin = Instant::now();
    let mut child = Supervised::start(args, cell.as_ref())?;
    // From here on nobody of the same user looks into this process.
    let _ = prctl::set_dumpable(false);
    let end = child.watch(&ended, begin + Duration::from_secs_f64(args.deadline));
    let seconds = begin.elapsed().as_secs_f64();
    let stuck = family::end(&BTreeSet::new(), cell.as_ref().and_then(Cell::uid));
    cell.iter().for_each(Cell::clean_up);
    child.drain()?;
    let (stdout, stderr) = (child.stdout.text(), child.stderr.text());
    Ok(Verdict { end: end?, seconds, stdout, stderr, stuck })
}

/// Looks out for a program that forks without end. It is found early, or ending it takes as long
/// as it has had to grow.
struct Bomb {
    most: usize,
    /// The fewest that there were: of those of others some may have ended meanwhile.
    tasks_before: usize,
}

impl Bomb {
    /// How often to look.
    const LOOK: Duration = Duration::from_millis(100);

    fn watch(most: usize) -> Self {
        Self { most, tasks_before: tasks() }
    }

    /// How many processes there are, if it is too many. The whole machine has grown before it is
    /// worth the time to count them.
    fn grown(&mut self) -> Option<usize> {
        let tasks = tasks();
        self.tasks_before = self.tasks_before.min(tasks);
        let suspicious = tasks - self.tasks_before > self.most;
        let processes = if suspicious { family::size() } else { 0 };
        (processes > self.most).then_some(processes)
    }
}

/// All processes and threads of this machine: the `4/567` of proc_loadavg(5).
fn tasks() -> usize {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let total = text.split(' ').nth(3).and_then(|it| it.split_once('/')?.1.parse().ok());
    total.unwrap_or(0)
}

/// Looks out for a program that writes without end: a limit for each file doesn't stop it.
struct Flood {
    dir: PathBuf,
    /// With less left, it is one.
    least: u64,
}

impl Flood {
    /// So many bytes of a disk are nobody's to fill, or half of what is free, if that is less.
    const RESERVE: u64 = 2 << 30;

    fn watch() -> Self {
        let dir = env::temp_dir();
        let least = Self::RESERVE.min(free(&dir) / 2);
        Self { dir, least }
    }

    /// Others may be to blame for a full disk: look who wrote it.
    fn rises(&self) -> bool {
        free(&self.dir) < self.least && family::written() > self.least / 4
    }
}

/// The free bytes of the file system that holds `dir`, see statvfs(3).
fn free(dir: &Path) -> u64 {
    statvfs(dir).map_or(u64::MAX, |it| it.blocks_available() * it.fragment_size())
}

/// A running command.
struct Supervised {
    pid: i32,
    processes: usize,
    stdout: Output,
    stderr: Output,
}

impl Supervised {
    fn start(args: &Args, cell: Option<&Cell>) -> Result<Self> {
        let (program, rest) = args.command.split_first().context("there is no command")?;
        let mut command = Command::new(program);
        command.args(rest).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        family::unblock_signals(&mut command);
        let own_session = || {
            setsid()?;
            // Should this process be killed, the child goes at once, and the rest with the tool.
            Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)
        };
        // SAFETY: `own_session` makes two system calls, which is allowed between fork and exec.
        unsafe { command.pre_exec(own_session) };
        if let Some(cell) = cell {
            cell.confine(&mut command);
        }
        let child = command.spawn().with_context(|| format!("start {}", program.display()));
        if let Some(cell) = cell {
            cell.started();
        }
        let mut child = child?;
        let stdout = Output::new(child.stdout.take(), args.output);
        let stderr = Output::new(child.stderr.take(), args.output);
        Ok(Self { pid: child.id().cast_signed(), processes: args.processes, stdout, stderr })
    }

    /// Collects what the child prints until it ends, or its time is up, or the tool is gone.
    fn watch(&mut self, ended: &SignalFd, deadline: Instant) -> Result<End> {
        let tool = io::stdin();
        let mut bomb = Bomb::watch(self.processes);
        // Where no number is too many, there are supervisors below that look out themselves.
        let flood = (self.processes < usize::MAX).then(Flood::watch);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(End::Deadline);
            }
            if let Some(processes) = bomb.grown() {
                return Ok(End::Bomb(processes));
            }
            if flood.as_ref().is_some_and(Flood::rises) {
                return Ok(End::Flood);
            }
            let events = [Some(ended.as_fd()), Some(tool.as_fd())];
            let [child_ended, tool_ended] = self.collect(events, left.min(Bomb::LOOK))?;
            if tool_ended {
                return Ok(End::Lost("the tool has been stopped".to_owned()));
            }
            if child_ended && let Some(end) = self.reap(ended) {
                return Ok(end);
            }
        }
    }

    /// Waits for output or an event, and takes the output.
    fn collect<const N: usize>(
        &mut self,
        events: [Option<BorrowedFd<'_>>; N],
        limit: Duration,
    ) -> Result<[bool; N]> {
        let mut sources = vec![self.stdout.source(), self.stderr.source()];
        sources.extend(events);
        let ready = wait_readable(&sources, limit)?;
        if ready[0] {
            self.stdout.take_more();
        }
        if ready[1] {
            self.stderr.take_more();
        }
        Ok(std::array::from_fn(|index| ready[2 + index]))
    }

    /// Reaps the child, if it has ended, and orphans.
    fn reap(&self, ended: &SignalFd) -> Option<End> {
        while let Ok(Some(_)) = ended.read_signal() {}
        let mut end = None;
        for status in family::reap_ended() {
            match status {
                WaitStatus::Exited(pid, status) if pid.as_raw() == self.pid => {
                    end = Some(End::Exited(status));
                }
                WaitStatus::Signaled(pid, signal, _) if pid.as_raw() == self.pid => {
                    end = Some(End::Signal(signal as i32));
                }
                _ => {} // an orphan
            }
        }
        end
    }

    /// Takes what is still in the pipes. Nobody is left who could write more.
    fn drain(&mut self) -> Result<()> {
        while self.stdout.source().is_some() || self.stderr.source().is_some() {
            let sources = [self.stdout.source(), self.stderr.source()];
            let ready = wait_readable(&sources, Duration::ZERO)?;
            if !ready.contains(&true) {
                break; // a process that couldn't be ended has them open
            }
            self.collect([], Duration::ZERO)?;
        }
        Ok(())
    }
}

//! Runs jobs, each under a supervisor, a few at a time.
//!
//! One loop, no threads: it waits for the supervisors' verdicts and for Ctrl-C at once. However it
//! is left, by the last job, an error, a signal, or even SIGKILL, the supervisors' standard inputs
//! close, and that makes each of them end its family. Orphans of a supervisor that was killed come
//! to this process and are ended here.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::fs::chown;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, Uid};

use crate::family;
use crate::pipe::{Output, wait_readable};
use crate::sandbox::{Claim, Sandbox};
use crate::supervise::Verdict;

/// What a supervisor may take longer than its job, until it is taken for stopped and is woken.
const OVERDUE: Duration = Duration::from_secs(5);

/// What it may take longer than that, until it counts as dead.
const GRACE: Duration = family::LIMIT.saturating_add(Duration::from_secs(5));

/// More than any verdict, which escapes what the job has printed.
const VERDICT: usize = 1 << 30;

/// A server with 1024 workers, its clients and the test are fewer.
const PROCESSES: usize = 1500;

/// A command to run.
#[derive(Clone, Debug)]
pub struct Job {
    pub command: Vec<OsString>,
    pub environment: Vec<(String, OsString)>,
    /// Where it runs. In a sandbox it becomes the owner of this directory.
    pub dir: PathBuf,
    pub deadline: Duration,
    /// When it has to be over, whenever it was started.
    pub until: Option<Instant>,
    /// More processes than so many are a bomb.
    pub processes: usize,
    /// How many bytes are kept of what it prints.
    pub output: usize,
    pub sandbox: Option<Sandbox>,
    /// Nothing else runs beside it.
    pub alone: bool,
}

/// The user has had enough: Ctrl-C, or SIGTERM, or the terminal is gone.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

impl Job {
    /// A program that is run here and now.
    pub fn new(program: impl Into<OsString>, deadline: Duration) -> Self {
        let (command, environment) = (vec![program.into()], Vec::new());
        let (dir, output) = (PathBuf::from("/"), 64 << 10);
        Self {
            command,
            environment,
            dir,
            deadline,
            output,
            processes: PROCESSES,
            until: None,
            sandbox: None,
            alone: false,
        }
    }
}

/// Whose jobs they are. A job is known by its place among them.
pub trait Order {
    /// Is the job, which is about to be started, still wanted?
    fn wanted(&mut self, _job: usize) -> bool {
        true
    }

    /// The job is over.
    fn done(&mut self, job: usize, verdict: Verdict) -> Result<()>;
}

impl<F: FnMut(usize, Verdict) -> Result<()>> Order for F {
    fn done(&mut self, job: usize, verdict: Verdict) -> Result<()> {
        self(job, verdict)
    }
}

/// Runs one job.
pub fn one(job: Job) -> Result<Verdict> {
    let mut verdict = None;
    run(vec![job], 1, &mut |_, it| {
        verdict = Some(it);
        Ok(())
    })?;
    verdict.context("a job without a verdict")
}

/// Runs `jobs`, `at_once` of them at a time; then those that want to be alone, one by one.
pub fn run(jobs: Vec<Job>, at_once: usize, order: &mut impl Order) -> Result<()> {
    family::adopt_orphans().context("prctl PR_SET_CHILD_SUBREAPER")?;
    let signals = Signals::block()?;
    let (alone, beside): (Vec<_>, Vec<_>) =
        jobs.into_iter().enumerate().partition(|(_, job)| job.alone);
    for (queue, at_once) in [(beside, at_once.max(1)), (alone, 1)] {
        let mut queue = VecDeque::from(queue);
        let mut running: Vec<Running> = Vec::new();
        loop {
            while running.len() < at_once
                && let Some((key, job)) = queue.pop_front()
            {
                if order.wanted(key) {
                    running.push(Running::start(key, &job)?);
                }
            }
            if running.is_empty() {
                break;
            }
            signals.wait(&mut running)?;
            while let Some(at) = running.iter().position(Running::is_over) {
                let ended = running.swap_remove(at);
                let others = running.iter().map(Running::pid).collect();
                let (key, verdict) = ended.verdict(&others)?;
                order.done(key, verdict)?;
            }
        }
    }
    Ok(())
}

/// The signals that ask this process to leave, taken as events. As they were when dropped.
struct Signals {
    before: SigSet,
    asked: SignalFd,
    heard: Cell<bool>,
}

impl Signals {
    fn block() -> Result<Self> {
        let mut leave = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            leave.add(signal);
        }
        let before = leave.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let at_once = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let asked = SignalFd::with_flags(&leave, at_once).context("signalfd")?;
        Ok(Self { before, asked, heard: Cell::new(false) })
    }

    /// Waits until a job has got on, or nobody should wait any longer.
    fn wait(&self, running: &mut [Running]) -> Result<()> {
        let mut sources = vec![Some(self.asked.as_fd())];
        sources.extend(running.iter().map(|it| it.verdict.source()));
        let next = running.iter().map(Running::next_event).min().unwrap_or_else(Instant::now);
        let ready = wait_readable(&sources, next.saturating_duration_since(Instant::now()))?;
        if ready[0] {
            self.heard.set(true);
            return Err(Interrupted.into());
        }
        for (job, ready) in running.iter_mut().zip(&ready[1..]) {
            job.silent = !ready;
            if *ready {
                job.verdict.take_more();
            }
            job.wake_if_overdue();
        }
        Ok(())
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Whoever asked once more meanwhile has been heard.
        while self.heard.get() && matches!(self.asked.read_signal(), Ok(Some(_))) {}
        let _ = self.before.thread_set_mask();
    }
}

/// A supervisor at work.
struct Running {
    key: usize,
    supervisor: Child,
    verdict: Output,
    /// When it should be over, at the latest.
    overdue: Instant,
    woken: bool,
    /// It had nothing to say at the last look.
    silent: bool,
    claim: Option<Claim>,
}

impl Running {
    fn start(key: usize, job: &Job) -> Result<Self> {
        // This very program, also when cargo has just built another in its place.
        let mut command = Command::new("/proc/self/exe");
        let left = job.until.map(|until| until.saturating_duration_since(Instant::now()));
        let limit = left.map_or(job.deadline, |left| left.min(job.deadline));
        let deadline = limit.as_secs_f64();
        command.args(["supervise", "--deadline", &deadline.to_string()]);
        command.args(["--output", &job.output.to_string()]);
        command.args(["--processes", &job.processes.to_string()]);
        let mut claim = None;
        if let Some(sandbox) = &job.sandbox {
            let cell;
            (cell, claim) = sandbox.cell(&job.dir, deadline)?;
            command.args(["--cell", &serde_json::to_string(&cell)?]);
            hand_over(job, claim.as_ref().map(|claim| claim.uid))?;
        }
        command.arg("--").args(&job.command).envs(job.environment.iter().cloned());
        command.current_dir(&job.dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut supervisor = command.spawn().context("start a supervisor")?;
        let verdict = Output::new(supervisor.stdout.take(), VERDICT);
        let overdue = Instant::now() + limit + OVERDUE;
        Ok(Self { key, supervisor, verdict, overdue, woken: false, silent: false, claim })
    }

    fn pid(&self) -> i32 {
        self.supervisor.id().cast_signed()
    }

    fn next_event(&self) -> Instant {
        if self.woken { self.overdue + GRACE } else { self.overdue }
    }

    /// A test can stop its supervisor, if it is the same user.
    fn wake_if_overdue(&mut self) {
        if !self.woken && Instant::now() >= self.overdue {
            let _ = kill(Pid::from_raw(self.pid()), Signal::SIGCONT);
            self.woken = true;
        }
    }

    fn is_over(&self) -> bool {
        let given_up = self.silent && Instant::now() >= self.overdue + GRACE;
        given_up || self.verdict.source().is_none()
    }

    /// Its verdict. If it has none, it was killed, and its orphans are ended; `others` go on.
    fn verdict(mut self, others: &BTreeSet<i32>) -> Result<(usize, Verdict)> {
        if self.verdict.source().is_some() {
            self.supervisor.kill().context("kill a supervisor")?;
        }
        let status = self.supervisor.wait().context("wait for a supervisor")?;
        let verdict = serde_json::from_str(&self.verdict.text()).unwrap_or_else(|_| {
            let stuck = family::end(others, self.claim.as_ref().map(|claim| claim.uid));
            let why = match status.signal() {
                Some(signal) => format!("its supervisor was killed by signal {signal}"),
                None => format!("its supervisor ended with {status}"),
            };
            Verdict { stuck, ..Verdict::lost(why) }
        });
        Ok((self.key, verdict))
    }
}

impl Drop for Running {
    /// The supervisor ends its family. It does so also if it has been stopped meanwhile.
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let deadline = Instant::now() + GRACE;
        while let Ok(None) = self.supervisor.try_wait() {
            let _ = kill(Pid::from_raw(self.pid()), Signal::SIGCONT);
            if Instant::now() > deadline {
                let _ = self.supervisor.kill();
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Makes the directory of a test, with what is in it, its user's own.
fn hand_over(job: &Job, uid: Option<Uid>) -> Result<()> {
    if let Some(uid) = uid.map(Uid::as_raw) {
        let entries = job.dir.read_dir()?.map(|entry| entry.map(|entry| entry.path()));
        for path in entries.chain([Ok(job.dir.clone())]) {
            let path = path?;
            chown(&path, Some(uid), Some(uid)).with_context(|| format!("chown {path:?}"))?;
        }
    }
    Ok(())
}

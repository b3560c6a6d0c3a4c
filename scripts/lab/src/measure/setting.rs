//! What all parts of the bench share: the programs, the files, and whoever asks it to stop.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::family;
use crate::measure::Plan;
use crate::measure::distance::Distance;
use crate::measure::place::Place;
use crate::measure::process::Server;
use crate::measure::processors::Halves;
use crate::repo::Stage;
use crate::schedule::Interrupted;

/// A stage, and its program.
#[derive(Clone)]
pub struct Program {
    pub stage: Stage,
    pub path: PathBuf,
}

/// What is measured, with what, and where.
pub struct Setting {
    pub plan: Plan,
    /// At least one.
    pub programs: Vec<Program>,
    pub place: Place,
    pub leave: Leave,
    distance: Option<Distance>,
    left_out: Vec<String>,
    _priority: Priority,
}

impl Setting {
    /// Makes the files and takes the signals.
    pub fn new(plan: Plan, programs: Vec<Program>, left_out: Vec<String>) -> Result<Self> {
        family::adopt_orphans().context("prctl PR_SET_CHILD_SUBREAPER")?;
        let leave = Leave::on_signals()?;
        let priority = Priority::raise();
        let (place, distance) = (Place::new()?, Halves::new()?.distance());
        let mut setting =
            Self { plan, programs, place, leave, distance, left_out, _priority: priority };
        if !setting.place.has_memory() {
            setting.leave_out("files in memory: there is no tmpfs at /dev/shm".to_owned());
        }
        Ok(setting)
    }

    /// How far apart the processors of servers and clients are right now, in nanoseconds, if there
    /// are two.
    pub fn apart(&self) -> Option<f64> {
        self.distance?.nanoseconds()
    }

    /// Remembers what isn't measured, and why. Once is enough.
    pub fn leave_out(&mut self, line: String) {
        if !self.left_out.contains(&line) {
            self.left_out.push(line);
        }
    }

    /// What isn't measured, and why.
    pub fn left_out(&self) -> Vec<String> {
        self.left_out.clone()
    }
}

impl Drop for Setting {
    /// Servers end with what holds them. This is for those who have got away from a server.
    fn drop(&mut self) {
        family::end(&Default::default(), None);
    }
}

impl Program {
    /// `07 splice`
    pub fn name(&self) -> String {
        format!("{} {}", self.stage.number, self.stage.name)
    }

    /// Its server of this file.
    pub fn serve(&self, file: &Path, workers: u16) -> Result<Server> {
        let mut command = Command::new(&self.path);
        command.args(["serve", "--port", "0", "--quiet", "--workers", &workers.to_string()]);
        Server::that_announces(command.arg("--file").arg(file))
    }

    /// Its client of the server at `port`.
    pub fn get(&self, port: u16, out: &Path) -> Command {
        let mut command = Command::new(&self.path);
        command.args(["get", "--quiet", "--port", &port.to_string(), "--out"]).arg(out);
        command
    }
}

/// Where it is allowed (as root, as a rule), the bench and all that it starts go before whatever
/// else runs on this machine. Taken back when dropped.
struct Priority {
    autogroup: Option<String>,
}

/// See sched(7): where each session is a group of its own, what counts is the group's.
const AUTOGROUP: &str = "/proc/self/autogroup";
const FIRST: i32 = -20;

impl Priority {
    fn raise() -> Self {
        let set = || -> Option<String> {
            let text = fs::read_to_string(AUTOGROUP).ok()?; // `/autogroup-25 nice 0`
            let before = text.split_whitespace().last()?.to_owned();
            if before == FIRST.to_string() {
                return None; // another bench has raised it, and will take it back
            }
            fs::write(AUTOGROUP, FIRST.to_string()).ok().map(|()| before)
        };
        let autogroup = set();
        // SAFETY: the call takes three numbers and touches no memory.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, FIRST) };
        Self { autogroup }
    }
}

impl Drop for Priority {
    /// That of this process ends with it. The group may be a shell's.
    fn drop(&mut self) {
        if let Some(before) = &self.autogroup {
            let _ = fs::write(AUTOGROUP, before);
        }
    }
}

/// The signals that ask this process to leave. They don't end it in the middle of a sample, or
/// large files would be left.
pub struct Leave(SignalFd);

impl Leave {
    fn on_signals() -> Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block().context("block signals")?;
        let at_once = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        SignalFd::with_flags(&set, at_once).context("signalfd").map(Self)
    }

    /// Fails if somebody has asked.
    pub fn check(&self) -> Result<()> {
        match self.0.read_signal() {
            Ok(Some(_)) => Err(Interrupted.into()),
            _ => Ok(()),
        }
    }
}

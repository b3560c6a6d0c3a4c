//! The means of a play: programs under `strace`, signals, and waiting until all is quiet.
//!
//! Rules: every wait has a deadline. Nothing is left running, whatever goes wrong: a dropped
//! [`Scene`] ends all that descends from this process.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::actor::Actor;
use super::descriptor::{Descriptor, Object};
use super::record::{Record, What};
use super::strace;
use crate::family;

/// No single step of a play takes longer, unless something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Whoever has made no call for so long is at rest.
const REST: Duration = Duration::from_millis(150);
/// How the directory of a play begins: what is in there belongs to the story.
pub const PREFIX: &str = "lab-trace-";
/// The size of the file that is downloaded, in bytes.
const SIZE: u64 = 32 << 20;

/// A program of the play.
pub struct Program {
    /// Its first process.
    pub pid: i32,
    /// Its subcommand.
    pub verb: String,
}

/// The stage, and what happened on it.
pub struct Scene {
    program: PathBuf,
    dir: TempDir,
    port: String,
    programs: Vec<Program>,
    pokes: Vec<Record>,
}

impl Scene {
    /// An empty stage, and a file to send.
    pub fn new(program: &Path) -> Result<Self> {
        family::adopt_orphans().context("prctl PR_SET_CHILD_SUBREAPER")?;
        let dir = TempDir::with_prefix(PREFIX)?;
        File::create(dir.path().join("sample.bin"))?.set_len(SIZE)?;
        fs::create_dir(dir.path().join("out"))?;
        let (program, port) = (program.to_owned(), String::new());
        Ok(Self { program, dir, port, programs: Vec::new(), pokes: Vec::new() })
    }

    /// Starts the server: of a chat, or with three workers.
    pub fn server(&mut self, is_a_chat: bool, sends_a_file: bool) -> Result<Actor> {
        let file = self.dir.path().join("sample.bin").to_string_lossy().into_owned();
        let mut args = vec!["serve", "--port", "0"];
        if !is_a_chat {
            args.extend(["--workers", "3"]);
        }
        if sends_a_file {
            args.extend(["--file", &file]);
        }
        let mut server = self.start(&args, false)?;
        let line = server.line()?;
        let port = line.split(' ').nth(2).and_then(|address| address.trim().rsplit(':').next());
        self.port = port.context("the server didn't say where it listens")?.to_owned();
        self.rest()?; // until its workers wait, too
        Ok(server)
    }

    /// Starts a client.
    pub fn client(&mut self, args: &[&str]) -> Result<Actor> {
        let port = self.port.clone();
        self.start(&[args, &["--port", &port]].concat(), false)
    }

    /// Starts a download; a slow one rests before it receives anything.
    pub fn get(&mut self, slow: bool) -> Result<Actor> {
        let out = self.dir.path().join("out").to_string_lossy().into_owned();
        let port = self.port.clone();
        self.start(&["get", "--out", &out, "--port", &port], slow)
    }

    fn start(&mut self, args: &[&str], slow: bool) -> Result<Actor> {
        let name = format!("program{}", self.programs.len());
        let errors = self.dir.path().join(format!("{name}-errors"));
        let mut command = strace::command(&self.program, self.dir.path(), &name, slow);
        // Calls show where a program runs: so it doesn't run in somebody's home.
        command.current_dir(self.dir.path());
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(&errors)?);
        let mut process = command.spawn().context("start strace")?;
        let output = BufReader::new(process.stdout.take().context("no standard output")?);
        let input = process.stdin.take();
        let mut actor = Actor { process, input, output, errors, name, pid: 0 };
        let is_first = |it: &&Record| it.call().is_some_and(|call| call.name == "execve");
        wait_until("the program starts", || {
            let records = strace::records(self.dir.path(), &actor.name)?;
            actor.pid = records.iter().find(is_first).map_or(0, |it| it.pid);
            Ok(actor.pid != 0)
        })?;
        self.programs.push(Program { pid: actor.pid, verb: args[0].to_owned() });
        Ok(actor)
    }

    /// Sends a signal from outside the picture.
    pub fn poke(&mut self, whom: &Actor, signal: Signal) -> Result<()> {
        self.send(whom.pid, signal)
    }

    fn send(&mut self, pid: i32, signal: Signal) -> Result<()> {
        let time = now();
        kill(Pid::from_raw(pid), signal).with_context(|| format!("kill {pid}"))?;
        let what = What::Poke(signal.as_str().to_owned());
        self.pokes.push(Record { pid, begin: time, end: time, what });
        Ok(())
    }

    /// Kills a worker and waits until the server has reaped it.
    pub fn kill_worker(&mut self, server: &Actor, number: usize) -> Result<()> {
        let worker = server.children()?.get(number).copied();
        let worker = worker.with_context(|| format!("the server has no worker {number}"))?;
        self.send(worker, Signal::SIGKILL)?;
        let path = format!("/proc/{worker}");
        wait_until("the killed worker is reaped", || Ok(!Path::new(&path).exists()))
    }

    /// Does a process wait, and not only for a processor?
    fn is_at_rest(&self, pid: i32) -> bool {
        let stopped = |it: &Record| it.pid == pid && it.what == What::Poke("SIGSTOP".to_owned());
        match family::state(pid) {
            None | Some('S' | 'Z' | 'X') => true,
            Some('t' | 'T') => self.pokes.iter().any(stopped),
            Some(_) => false,
        }
    }

    /// Waits until nobody makes a call any more.
    pub fn rest(&self) -> Result<()> {
        let written = || -> Result<u64> {
            let entries = self.dir.path().read_dir().context("the trace")?;
            Ok(entries.flatten().filter_map(|it| it.metadata().ok()).map(|it| it.len()).sum())
        };
        let all_rest = || -> Result<bool> {
            let pids = strace::pids(self.dir.path())?;
            Ok(pids.into_iter().all(|pid| self.is_at_rest(pid)))
        };
        let mut last = (written()?, Instant::now());
        wait_until("all are at rest", || {
            let written = written()?;
            if written != last.0 || !all_rest()? {
                last = (written, Instant::now());
            }
            Ok(last.1.elapsed() >= REST)
        })
    }

    /// Waits until a client has received more than a header.
    pub fn wait_for_data(&self, client: &Actor) -> Result<()> {
        let is_data = |it: &Record| {
            it.call().is_some_and(|call| {
                let object = Descriptor::parse(call.arg(0)).map(|it| it.object);
                call.bytes() > 1000 && matches!(object, Some(Object::Tcp { .. }))
            })
        };
        wait_until("a client receives data", || {
            Ok(strace::records(self.dir.path(), &client.name)?.iter().any(is_data))
        })
    }

    /// Ends the server, unless it ends by itself, and returns what happened until then.
    pub fn finish(
        mut self,
        mut server: Actor,
        ends_itself: bool,
    ) -> Result<(Vec<Record>, Vec<Program>)> {
        let curtain = now();
        if !ends_itself {
            kill(Pid::from_raw(server.pid), Signal::SIGKILL).context("end the server")?;
        }
        server.end()?;
        let mut records = std::mem::take(&mut self.pokes);
        for number in 0..self.programs.len() {
            records.extend(strace::records(self.dir.path(), &format!("program{number}"))?);
        }
        if !ends_itself {
            records.retain(|it| it.begin < curtain);
            records.iter_mut().for_each(|it| it.cut(curtain));
        }
        records.sort_by_key(|it| it.begin); // stable: each process keeps its order
        Ok((records, std::mem::take(&mut self.programs)))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // To end a family takes priority over others; a play that went well has left none.
        if family::size() > 0 {
            family::end(&BTreeSet::new(), None);
        }
    }
}

/// Waits for a condition.
pub fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !done()? {
        if Instant::now() > deadline {
            bail!("waited {} s in vain: {what}", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Now, by the clock of `strace -ttt`.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() * 1_000_000 + u64::from(since.subsec_micros())
}

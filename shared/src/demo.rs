//! Runs a stage's server and clients as a person would, and checks what comes out.
//!
//! Purpose: `demo` shows a whole stage in one terminal, in seconds, and proves it.
//! Interface: [`Demo::start`] a server, run clients with [`Demo::client`], poke it, and
//! [`Demo::finish`], which proves that nobody is left over.
//! Rules: these are real processes of this program, started anew. A demo that hangs is killed by
//! its own alarm, and its children die with it.
//! First used by stage 01.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, alarm};

use crate::cli;
use crate::error::Context;
use crate::narrate::write_line;
use crate::signal;

/// A demo takes no longer than this, in seconds, or it is killed by `alarm(2)`.
pub(crate) const LIMIT: u32 = 20;

/// A running server and what a demo needs around it.
pub struct Demo {
    server: Child,
    /// Kept open: a server whose standard output is closed under it is a server in trouble.
    _stdout: ChildStdout,
    address: String,
}

/// Writes a line of the demo's own story.
pub fn tell(text: &str) {
    write_line(&format!("[demo] {text}"));
}

/// Fails the demo, saying what should have been true.
///
/// # Errors
/// When `holds` is false.
pub fn check(holds: bool, what: &str) -> io::Result<()> {
    if holds {
        tell(&format!("checked: {what}"));
        return Ok(());
    }
    Err(io::Error::other(format!("this should be true, and isn't: {what}")))
}

impl Demo {
    /// Starts `serve` with these arguments on a free port and waits until it listens.
    ///
    /// # Errors
    /// The server doesn't start.
    pub fn start(args: &[&str]) -> io::Result<Self> {
        alarm::set(LIMIT);
        signal::keep_children()?;
        // Whoever loses its parent becomes our child, so that we can prove that nobody is left.
        prctl::set_child_subreaper(true).context("prctl PR_SET_CHILD_SUBREAPER")?;
        tell(&format!("starting the server: serve --port 0 {}", args.join(" ")));
        let mut server = itself(&["serve", "--port", "0"])?
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .context("start the server")?;
        let stdout = server.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        let mut reader = BufReader::new(stdout);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let address = line.split(' ').nth(2).unwrap_or_default().to_owned();
        check(address.contains(':'), &format!("the server is {}", line.trim_end()))?;
        Ok(Self { server, _stdout: reader.into_inner(), address })
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The server's pid.
    #[must_use]
    pub fn server(&self) -> Pid {
        Pid::from_raw(self.server.id().cast_signed())
    }

    /// The pids of the server's workers, in the order in which they were started.
    ///
    /// # Errors
    /// `/proc` can't be read.
    pub fn workers(&self) -> io::Result<Vec<Pid>> {
        self.children_of(self.server())
    }

    /// The pids of a process's children: of a worker, in stage 09, those that keep programs.
    ///
    /// # Errors
    /// `/proc` can't be read.
    pub fn children_of(&self, pid: Pid) -> io::Result<Vec<Pid>> {
        let path = format!("/proc/{pid}/task/{pid}/children");
        let children = fs::read_to_string(&path).context(path)?;
        Ok(children
            .split_whitespace()
            .filter_map(|it| it.parse().ok().map(Pid::from_raw))
            .collect())
    }

    /// Starts a client of this server.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start_client(&self, verb: &str, args: &[&str]) -> io::Result<Child> {
        self.start_client_with(verb, args, Stdio::null())
    }

    /// The same with a standard input.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start_client_with(&self, verb: &str, args: &[&str], stdin: Stdio) -> io::Result<Child> {
        tell(format!("starting a client: {verb} {}", args.join(" ")).trim_end());
        let port = self.address.rsplit(':').next().unwrap_or_default();
        itself(&[verb, "--port", port])?
            .args(args)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .context("start a client")
    }

    /// Waits for a client and returns what it printed.
    ///
    /// # Errors
    /// It failed.
    pub fn await_client(&self, client: Child) -> io::Result<String> {
        let Output { status, stdout, .. } = client.wait_with_output()?;
        let text = String::from_utf8_lossy(&stdout).into_owned();
        for line in text.lines() {
            tell(&format!("the client printed: {line}"));
        }
        check(status.success(), "the client's exit status is 0")?;
        Ok(text)
    }

    /// Runs a client that is to fail, with exit status 1, and returns what it printed.
    ///
    /// # Errors
    /// It didn't fail.
    pub fn refused(&self, verb: &str, args: &[&str]) -> io::Result<String> {
        let Output { status, stdout, .. } = self.start_client(verb, args)?.wait_with_output()?;
        let text = String::from_utf8_lossy(&stdout).into_owned();
        tell(format!("the client printed: {text}").trim_end());
        check(status.code() == Some(1), "the client's exit status is 1")?;
        Ok(text)
    }

    /// Runs a client to its end and returns what it printed.
    ///
    /// # Errors
    /// It failed.
    pub fn client(&self, verb: &str, args: &[&str]) -> io::Result<String> {
        self.await_client(self.start_client(verb, args)?)
    }

    /// Sends a signal, as `kill` in a second terminal would.
    ///
    /// # Errors
    /// `kill(2)`.
    pub fn signal(&self, pid: Pid, signal: Signal) -> io::Result<()> {
        tell(&format!("kill -{} {pid}", signal.as_str().trim_start_matches("SIG")));
        kill(pid, signal).context("kill")
    }

    /// Kills the server without warning and proves that no process is left.
    ///
    /// # Errors
    /// Somebody is left over.
    pub fn finish(self) -> io::Result<()> {
        self.signal(self.server(), Signal::SIGKILL)?;
        self.wait_for_all()
    }

    /// Waits for the server, which was asked to leave, and proves that it left well and that no
    /// process is left.
    ///
    /// # Errors
    /// Its exit status isn't 0; somebody is left over.
    pub fn finish_politely(mut self) -> io::Result<()> {
        let status = self.server.wait().context("wait for the server")?;
        check(status.success(), "the server's exit status is 0")?;
        self.wait_for_all()
    }

    /// The server's workers would be our children now. Wait until we have no child at all; if
    /// one doesn't end, the alarm ends the demo.
    fn wait_for_all(self) -> io::Result<()> {
        while waitpid(None, None) != Err(Errno::ECHILD) {}
        check(true, "no process is left over")
    }
}

/// This program, to be started again. It dies with the demo.
pub(crate) fn itself(args: &[&str]) -> io::Result<Command> {
    let program = env::current_exe().context("find the program's own file")?;
    let mut command = Command::new(program);
    // SAFETY: between fork and exec the closure makes one prctl call, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?));
    }
    command.args(args).env(cli::DEMO, "1");
    Ok(command)
}

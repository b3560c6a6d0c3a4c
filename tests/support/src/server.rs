//! Start a server, read what it says, stop it, prove that nobody is left.
//!
//! ```ignore
//! let server = Server::start(env!("CARGO_BIN_EXE_step03-sendfd"), &["--workers", "2"]);
//! let mut client = LineClient::connect(server.addr());
//! server.kill(server.workers()[0]);
//! server.wait_narration("signal 9");
//! ```
//!
//! A server that goes out of scope is stopped with its whole family. If the test is failing
//! then, what the server said is printed.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::grading::report;
use crate::proc;
use crate::process::Process;
use crate::tcp;
use crate::wait::{limit, poll_until, wait_for, wait_until};

pub use crate::process::{Finished, LAST_BREATH, pipe_with, run, run_with_stdin, run_within};
pub use nix::sys::signal::Signal;

/// How to start a server, where [`Server::start`] isn't enough.
pub struct ServerCommand {
    bin: String,
    wrapper: Vec<String>,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    directory: Option<String>,
    prepare: Option<fn(&mut Command)>,
}

impl ServerCommand {
    /// A server of this binary: `env!("CARGO_BIN_EXE_step03-sendfd")`.
    #[must_use]
    pub fn new(bin: &str) -> Self {
        let (wrapper, args, environment) = (Vec::new(), Vec::new(), Vec::new());
        let (directory, prepare) = (None, None);
        Self { bin: bin.to_owned(), wrapper, args, environment, directory, prepare }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(ToString::to_string));
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it in this directory.
    #[must_use]
    pub fn dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().to_string_lossy().into_owned());
        self
    }

    /// Starts it under another program: `.under(&["strace", "-f", "-o", "calls"])`.
    #[must_use]
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(ToString::to_string).collect();
        self
    }

    /// Has `prepare` change the command before it is started.
    #[must_use]
    pub fn prepare(mut self, prepare: fn(&mut Command)) -> Self {
        self.prepare = Some(prepare);
        self
    }

    /// Starts the server and waits for the first line of its standard output. If the arguments
    /// name no port it takes a free one.
    ///
    /// # Panics
    /// When it ends, or when no such line has come by the deadline.
    #[track_caller]
    #[must_use]
    pub fn start(self) -> Server {
        let names_port = self.args.iter().any(|arg| arg.starts_with("--port"));
        if names_port { self.start_as_is() } else { self.args(&["--port", "0"]).start_as_is() }
    }

    /// The same, without naming a port: the server takes its default.
    #[track_caller]
    #[must_use]
    pub fn start_as_is(self) -> Server {
        let mut words = self.wrapper.iter().chain([&self.bin]);
        let mut command = Command::new(words.next().expect("there is a program to start"));
        command.args(words).args(&self.args).envs(self.environment);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        if let Some(prepare) = self.prepare {
            prepare(&mut command);
        }
        Server::wait_listening(Process::start(&mut command), &self.bin)
    }
}

/// A running server. Nothing of it outlives this value.
pub struct Server {
    process: Process,
    pid: i32,
    first_line: String,
    address: SocketAddr,
}

impl Server {
    /// Starts `bin` with `args`, on a free port unless they name one.
    ///
    /// # Panics
    /// When it doesn't say in time that it listens.
    #[track_caller]
    #[must_use]
    pub fn start(bin: &str, args: &[&str]) -> Self {
        ServerCommand::new(bin).args(args).start()
    }

    #[track_caller]
    fn wait_listening(mut process: Process, bin: &str) -> Self {
        let first_line = poll_until(limit(), || {
            let output = process.stdout.text();
            match output.split_once('\n') {
                Some((line, _)) => Some(line.to_owned()),
                None => process.ended().is_some().then(|| output.clone()),
            }
        });
        if first_line.is_none() {
            report("timeout", &limit().as_secs().to_string());
        }
        let first_line = first_line.unwrap_or_default();
        let address = first_line
            .strip_prefix("listening on ")
            .and_then(|rest| rest.split(' ').next()?.parse().ok());
        let Some(address) = address else {
            never_listened(process);
        };
        let pid = pid_of_server(&process, bin);
        Self { process, pid, first_line, address }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The pid of the server's parent process, also when it was started under another program.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The first line of its standard output, without the newline.
    #[must_use]
    pub fn first_line(&self) -> &str {
        &self.first_line
    }

    /// All of its standard output so far.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.stdout.text()
    }

    /// All of its standard error so far.
    #[must_use]
    pub fn narration(&self) -> String {
        self.process.stderr.text()
    }

    /// Waits until its standard error contains `needle`.
    #[track_caller]
    pub fn wait_narration(&self, needle: &str) {
        let what = format!("{needle:?} on standard error");
        wait_until(&what, limit(), || self.narration().contains(needle).then_some(()));
    }

    /// The living workers: the children of the parent that aren't zombies, in order of pid.
    #[must_use]
    pub fn workers(&self) -> Vec<i32> {
        let mut workers = proc::children(self.pid);
        workers.retain(|&pid| proc::alive(pid));
        workers
    }

    /// Waits until exactly `count` workers live and no zombie is among them.
    #[track_caller]
    pub fn wait_workers(&self, count: usize) -> Vec<i32> {
        let settled = || {
            let children = proc::children(self.pid);
            let settled = children.len() == count && children.iter().all(|&pid| proc::alive(pid));
            settled.then_some(children)
        };
        poll_until(limit(), settled).unwrap_or_else(|| {
            self.give_up(&format!("exactly {count} children of the parent, none a zombie"))
        })
    }

    /// Waits until the parent has reaped this worker: neither running nor a zombie.
    #[track_caller]
    pub fn wait_reaped(&self, worker: i32) {
        let what = format!("the parent to reap worker {worker}");
        if poll_until(limit(), || (!proc::exists(worker)).then_some(())).is_none() {
            self.give_up(&what);
        }
    }

    /// Says what was waited for, and what there is instead.
    #[track_caller]
    fn give_up(&self, what: &str) -> ! {
        report("timeout", &limit().as_secs().to_string());
        let children = match describe_all(&proc::children(self.pid)) {
            none if none.is_empty() => "has no children".to_owned(),
            children => format!("has the children {children}"),
        };
        let parent = proc::describe(self.pid);
        panic!("waited {:?} in vain for {what}; the parent, {parent}, {children}", limit());
    }

    /// Waits until `count` connections are accepted, all they have sent is read, and the parent
    /// sleeps again.
    #[track_caller]
    pub fn wait_all_read(&self, count: usize) {
        tcp::wait_all_read(self.port(), count);
        self.wait_asleep();
    }

    /// Waits until the parent sleeps: it has done all that it had to do.
    #[track_caller]
    pub fn wait_asleep(&self) {
        wait_for("the parent to sleep", limit(), || proc::state(self.pid) == Some('S'));
    }

    /// Waits until the parent and its workers sleep: each worker has made its preparations.
    #[track_caller]
    pub fn wait_all_asleep(&self) {
        wait_for("the parent and its workers to sleep", limit(), || {
            let family = [vec![self.pid], self.workers()].concat();
            family.into_iter().all(|pid| proc::state(pid) == Some('S'))
        });
    }

    /// Do the parent and its workers all sleep at this very moment? Whoever hands something to
    /// another and then sleeps is given away by its count of switches.
    pub(crate) fn stands_still(&self) -> bool {
        let family = [vec![self.pid], self.workers()].concat();
        let switches = || family.iter().map(|&pid| proc::ctxt_switches(pid)).collect::<Vec<_>>();
        let before = switches();
        family.iter().all(|&pid| proc::state(pid) == Some('S')) && switches() == before
    }

    /// Sends a signal to the parent, to one of its workers, or with a negative pid to a group.
    #[track_caller]
    pub fn signal(&self, pid: i32, signal: Signal) {
        send_signal(pid, signal);
    }

    /// Kills the parent or one of its workers (SIGKILL).
    #[track_caller]
    pub fn kill(&self, pid: i32) {
        self.signal(pid, Signal::SIGKILL);
    }

    /// Stops a process (SIGSTOP) and waits until it stands still. SIGCONT lets it go on.
    #[track_caller]
    pub fn freeze(&self, pid: i32) {
        self.signal(pid, Signal::SIGSTOP);
        let what = format!("process {pid} to stand still");
        wait_until(&what, limit(), || (proc::state(pid) == Some('T')).then_some(()));
    }

    /// Kills these workers while the parent stands still. When it goes on they are all dead, and
    /// a single SIGCHLD tells it so.
    #[track_caller]
    pub fn kill_in_one_instant(&self, workers: &[i32]) {
        self.freeze(self.pid);
        for &worker in workers {
            self.kill(worker);
            wait_for("the worker to be dead", limit(), || !proc::alive(worker));
        }
        self.signal(self.pid, Signal::SIGCONT);
    }

    /// Waits for the end of the server's parent process.
    #[track_caller]
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        wait_until("the server to end", limit, || self.process.ended())
    }

    /// Waits for the end of the parent and of all who descend from it, without any help.
    #[track_caller]
    pub fn wait_nobody_left(&mut self, limit: Duration) {
        let mut left = self.process.wait_family(limit);
        if left.len() > 1 && self.pid != self.process.pid() {
            left.retain(|&pid| pid != self.process.pid()); // strace, which ends after them
        }
        let count = left.len();
        assert!(left.is_empty(), "{count} still there after {limit:?}: {}", describe_all(&left));
    }

    /// Has everybody closed standard output and error? A process that is left keeps them open.
    #[must_use]
    pub fn streams_closed(&self) -> bool {
        self.process.stdout.at_end() && self.process.stderr.at_end()
    }

    /// Kills the server and all who descend from it.
    ///
    /// # Panics
    /// When one of them can't be killed.
    #[track_caller]
    pub fn stop(mut self) {
        self.kill_all();
    }

    #[track_caller]
    fn kill_all(&mut self) {
        let left = self.process.kill_family();
        if !left.is_empty() && !thread::panicking() {
            panic!("could not be killed: {}", describe_all(&left));
        }
    }
}

/// Says why there is no `listening on ADDRESS with …`.
#[track_caller]
fn never_listened(mut process: Process) -> ! {
    let what = "a first line `listening on ADDRESS with …`";
    let ending = match process.ended() {
        Some(status) => format!("the server ended ({status}) without {what}"),
        None if process.stdout.text().is_empty() => {
            report("timeout", &limit().as_secs().to_string());
            format!("waited {:?} in vain for {what}", limit())
        }
        None => format!("the server runs without {what}"),
    };
    process.kill_family();
    let _ = poll_until(limit(), || process.stderr.at_end().then_some(()));
    let (output, error) = (process.stdout.text(), process.stderr.text());
    panic!("{ending}; on standard output: {output:?}; on standard error: {}", error.trim_end());
}

/// Sends a signal to a process, or with a negative pid to a group.
#[track_caller]
pub fn send_signal(pid: i32, signal: Signal) {
    if let Err(error) = kill(Pid::from_raw(pid), signal) {
        panic!("kill {pid} {signal}: {error}");
    }
}

/// The same for a signal that has no name: one of the real-time signals, see `signal(7)`.
#[track_caller]
pub fn send_signal_number(pid: i32, number: i32) {
    // SAFETY: the call takes two numbers and touches no memory.
    let sent = unsafe { libc::kill(pid, number) };
    assert_eq!(sent, 0, "kill {pid} {number}");
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("The server was {}", self.process.transcript());
        }
        self.kill_all();
    }
}

fn describe_all(pids: &[i32]) -> String {
    const MOST: usize = 8;
    let mut shown: Vec<String> = pids.iter().map(|&pid| proc::describe(pid)).take(MOST).collect();
    if pids.len() > MOST {
        shown.push(format!("… ({} in all)", pids.len()));
    }
    shown.join(", ")
}

/// The server among the processes of its session: it runs `bin`, its parent doesn't.
#[track_caller]
fn pid_of_server(process: &Process, bin: &str) -> i32 {
    let bin = Path::new(bin).canonicalize().expect("the binary exists");
    let runs_bin = |pid: i32| {
        std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program == bin)
    };
    let is_server =
        |&pid: &i32| runs_bin(pid) && proc::stat(pid).is_some_and(|stat| !runs_bin(stat.parent));
    // It has said that it listens, so it is there unless it ended at once.
    proc::session(process.pid()).into_iter().find(is_server).unwrap_or(process.pid())
}

//! A program under test: a session of its own, its output collected, nobody left at its end.
//!
//! The session (`setsid(2)`) is how its whole family is found again in `/proc`, whatever they
//! fork and whoever adopts them. This process makes itself the adopter of their orphans
//! (`PR_SET_CHILD_SUBREAPER`), so that it can reap them too.

use std::fmt;
use std::io::{self, PipeReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Once, Weak};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{self, SigHandler, SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, read, setsid};

use crate::grading::report;
use crate::proc;
use crate::wait::{limit, poll_until};

/// How long the rest of a family may take to end after its parent has ended. That is a matter of
/// milliseconds, but one after the other has to hear of it, and a busy machine lets each wait.
pub const LAST_BREATH: Duration = Duration::from_secs(3);

/// A running program and its family.
pub(crate) struct Process {
    child: Child,
    command: String,
    pub(crate) stdout: Stream,
    pub(crate) stderr: Stream,
}

impl Process {
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_with_stdin(command, Stdio::null())
    }

    #[track_caller]
    pub(crate) fn start_with_stdin(command: &mut Command, stdin: impl Into<Stdio>) -> Self {
        static ADOPT_ORPHANS: Once = Once::new();
        ADOPT_ORPHANS.call_once(|| prctl::set_child_subreaper(true).expect("prctl SUBREAPER"));

        let prepare = || {
            setsid()?;
            // Should the tests be killed, the program under test goes with them.
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            forget_inherited_state();
            Ok(())
        };
        // SAFETY: between fork and exec only async-signal-safe calls are allowed, for another
        // thread may hold a lock. `prepare` makes plain system calls and nothing else.
        unsafe { command.pre_exec(prepare) };
        report("ran", &format!("{command:?}"));
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("can't start {command:?}: {error}"),
        };
        let stdout = Stream::collect(child.stdout.take().expect("stdout is a pipe"));
        let stderr = Stream::collect(child.stderr.take().expect("stderr is a pipe"));
        SAID.lock().unwrap().push(Arc::downgrade(&stderr.said));
        Self { child, command: format!("{command:?}"), stdout, stderr }
    }

    /// The pid of the program that was started, which is also the number of its session.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("pids are ints")
    }

    /// The status it ended with; `None` while it runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("waitpid works on a child of ours")
    }

    /// Waits until it and its whole family have ended; says who hasn't within `limit`.
    pub(crate) fn wait_family(&mut self, limit: Duration) -> Vec<i32> {
        let _ = poll_until(limit, || self.family().is_empty().then_some(()));
        self.family()
    }

    /// Ends the whole family by force. Returns who couldn't be ended: nobody, as a rule.
    pub(crate) fn kill_family(&mut self) -> Vec<i32> {
        let nobody_left = |this: &mut Self| {
            let family = this.family();
            for &pid in &family {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            family.is_empty().then_some(())
        };
        let _ = poll_until(limit(), || nobody_left(self));
        self.family()
    }

    /// Who is left of the session. Reaps those that have ended and are ours to reap.
    fn family(&mut self) -> Vec<i32> {
        let _ = self.ended();
        let mut family = proc::session(self.pid());
        family.retain(|&pid| {
            let orphan = pid != self.pid();
            // Fails, and does nothing, for a process that still has a parent of its own.
            if orphan {
                let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
            }
            proc::exists(pid)
        });
        family
    }

    /// Waits for its end and collects what it said. Ends by force whom it has left behind.
    #[track_caller]
    pub(crate) fn finish(&mut self) -> Finished {
        self.finish_within(limit())
    }

    /// The same for a program that takes its time.
    #[track_caller]
    pub(crate) fn finish_within(&mut self, limit: Duration) -> Finished {
        let status = poll_until(limit, || self.ended());
        let doing = status.is_none().then(|| proc::doing(self.pid())).flatten();
        let left_running = match status {
            Some(_) => self.wait_family(LAST_BREATH),
            None => Vec::new(),
        };
        self.kill_family();
        let closed = |stream: &Stream| stream.at_end().then_some(());
        let _ = poll_until(limit, || closed(&self.stdout).and(closed(&self.stderr)));
        let Some(status) = status else {
            report("timeout", &limit.as_secs().to_string());
            let doing = doing.map(|it| format!(", and was {it}")).unwrap_or_default();
            panic!("did not end within {limit:?}{doing}: {}", self.transcript());
        };
        Finished { status, stdout: self.stdout.text(), stderr: self.stderr.text(), left_running }
    }

    /// What it was and what it has said so far, for messages.
    pub(crate) fn transcript(&self) -> String {
        let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
        let command = &self.command;
        format!("{command}\n--- its stdout:\n{stdout}--- its stderr:\n{stderr}---")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_family();
    }
}

/// Whatever shell or grader the tests run under, and whatever it had open or ignored (a shell's
/// background jobs ignore SIGINT): the program starts with descriptors 0, 1 and 2, with every
/// signal at its default and none blocked.
fn forget_inherited_state() {
    let close_on_exec = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
    // SAFETY: the call takes numbers and touches no memory. Nothing is closed before exec.
    unsafe { libc::close_range(3, u32::MAX, close_on_exec) };
    for number in Signal::iterator() {
        #[allow(clippy::disallowed_methods, reason = "takes handlers away, installs none")]
        // SAFETY: the default action needs no handler that could break a rule. SIGKILL and
        // SIGSTOP can't be changed, which is an error that doesn't matter.
        let _ = unsafe { signal::signal(number, SigHandler::SigDfl) };
    }
    let _ = SigSet::empty().thread_set_mask(); // fails for no set
}

/// The standard errors of the programs that this test has started.
static SAID: Mutex<Vec<Weak<Mutex<Said>>>> = Mutex::new(Vec::new());

/// The lines in which the programs under test have complained so far: `error: …`, with what was
/// told just before, and panics with the line after, which says why.
pub(crate) fn complaints() -> Vec<String> {
    let mut complaints = Vec::new();
    for said in SAID.lock().unwrap().iter().filter_map(Weak::upgrade) {
        let text = said.lock().unwrap().so_far();
        let mut lines = text.lines();
        let mut told = None;
        while let Some(line) = lines.next() {
            if line.starts_with("error: ") {
                complaints.extend(told.take());
                complaints.push(line.to_owned());
            } else if line.contains(" panicked at ") {
                complaints.push(format!("{line} {}", lines.next().unwrap_or_default()));
            }
            told = line.starts_with('[').then(|| line.to_owned());
        }
    }
    complaints
}

/// What the server has told of its doings last: where a client waits in vain, it says why.
pub(crate) fn last_words() -> Vec<String> {
    const LAST: usize = 3;
    let told = |said: Arc<Mutex<Said>>| -> Vec<String> {
        let text = said.lock().unwrap().so_far();
        text.lines().filter(|line| line.starts_with('[')).map(str::to_owned).collect()
    };
    let said = SAID.lock().unwrap();
    // The server is started before its clients.
    let mut words = said.iter().filter_map(Weak::upgrade).map(told).find(|it| !it.is_empty());
    let words = words.get_or_insert_default();
    words.split_off(words.len().saturating_sub(LAST))
}

/// An output stream, drained by a thread, so that the program never waits for its reader.
pub(crate) struct Stream {
    said: Arc<Mutex<Said>>,
}

impl Stream {
    fn collect(pipe: impl Into<OwnedFd>) -> Self {
        let pipe = pipe.into();
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("fcntl F_SETFL of a pipe");
        let readable = pipe.try_clone().expect("a second descriptor of the pipe");
        let said = Arc::new(Mutex::new(Said { pipe, bytes: Vec::new(), at_end: false }));
        let drained = Arc::clone(&said);
        #[allow(
            clippy::disallowed_methods,
            reason = "tests have threads, programs under test don't"
        )]
        thread::spawn(move || {
            while !drained.lock().unwrap().take() {
                let mut polled = [PollFd::new(readable.as_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut polled, PollTimeout::NONE); // EINTR: only a look too many
            }
        });
        Self { said }
    }

    /// All that has been written to it so far.
    pub(crate) fn text(&self) -> String {
        self.said.lock().unwrap().so_far()
    }

    /// Has everybody who could write to it closed it?
    pub(crate) fn at_end(&self) -> bool {
        self.said.lock().unwrap().take()
    }
}

/// What has come of an output stream, and where more comes from.
struct Said {
    pipe: OwnedFd,
    bytes: Vec<u8>,
    at_end: bool,
}

impl Said {
    /// Takes what is in the pipe, without waiting. Returns whether its end was reached.
    fn take(&mut self) -> bool {
        let mut buffer = [0; 64 << 10]; // as much as a pipe holds
        match read(&self.pipe, &mut buffer) {
            Ok(length @ 1..) => self.bytes.extend_from_slice(&buffer[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Ok(0) | Err(_) => self.at_end = true,
        }
        self.at_end
    }

    /// All that has been written so far. The thread that drains the pipe may not have come to it
    /// yet on a busy machine, so whoever asks takes the rest.
    fn so_far(&mut self) -> String {
        self.take();
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// What remains of a program that ran to its end.
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
    /// The processes it left behind, some seconds after its own end. They have been killed.
    pub left_running: Vec<i32>,
}

/// As a person wants to read it: `exit status: 1`, then what it said, line by line.
impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, stdout, stderr, left_running } = self;
        write!(f, "{status}")?;
        for (name, said) in [("output", stdout), ("error", stderr)] {
            match said.as_str() {
                "" => write!(f, "\nnothing on standard {name}")?,
                text => write!(f, "\non standard {name}:\n{}", indented(text))?,
            }
        }
        if left_running.is_empty() { Ok(()) } else { write!(f, "\nleft running: {left_running:?}") }
    }
}

/// Control characters are escaped: nobody knows what a program under test prints.
fn indented(text: &str) -> String {
    let escaped = |letter: char| match letter {
        '\n' => "\n  ".to_owned(),
        _ if letter.is_control() => letter.escape_default().to_string(),
        _ => letter.to_string(),
    };
    text.trim_end_matches('\n')
        .chars()
        .fold("  ".to_owned(), |said, letter| said + &escaped(letter))
}

/// Runs a program to its end: a client, a demo, a server that can't start.
///
/// # Panics
/// When it hasn't ended by the deadline ([`limit`]).
#[track_caller]
#[must_use]
pub fn run(bin: &str, args: &[&str]) -> Finished {
    run_within(bin, args, limit())
}

/// The same for a program that takes its time.
#[track_caller]
#[must_use]
pub fn run_within(bin: &str, args: &[&str], limit: Duration) -> Finished {
    Process::start(Command::new(bin).args(args)).finish_within(limit)
}

/// The same with a standard input: a file, or a pipe from [`pipe_with`].
#[track_caller]
#[must_use]
pub fn run_with_stdin(bin: &str, args: &[&str], stdin: impl Into<Stdio>) -> Finished {
    Process::start_with_stdin(Command::new(bin).args(args), stdin).finish()
}

/// A pipe out of which comes `input`, as fast as it is read.
#[must_use]
pub fn pipe_with(input: Vec<u8>) -> PipeReader {
    let (reader, mut writer) = io::pipe().expect("pipe");
    #[allow(clippy::disallowed_methods, reason = "tests have threads, programs under test don't")]
    thread::spawn(move || {
        let _ = writer.write_all(&input); // whoever reads may stop when it likes
    });
    reader
}

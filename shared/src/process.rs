//! Child processes that never return, never outlive their parent and are always reaped.
//!
//! Purpose: the one home of `fork(2)`, `_exit(2)` and `waitpid(2)`.
//! Interface: [`spawn`] makes a [`Child`]; dropping it kills and reaps; [`Child::reap`] tells
//! how it ended. [`close_all_but`] and [`raise_descriptor_limit`] set up its descriptors.
//! Stage 09 reaps whoever has ended, with [`reap_next`], and with [`end_all`] all who are left.
//! Rules: fork before any thread exists. In the child nothing of the parent is ever dropped:
//! the body is followed by `_exit`, so no destructor of the parent's objects runs twice.
//! First used by stage 01.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

use crate::error::Context;
use crate::narrate;
use crate::signal;

/// How a process ended, see `wait(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It left by itself, with this exit status (0 to 255).
    Exited(i32),
    /// A signal of this number killed it.
    Killed(i32),
}

impl Ending {
    /// What a status of `wait(2)` means.
    fn of(status: i32) -> Self {
        if libc::WIFEXITED(status) {
            Self::Exited(libc::WEXITSTATUS(status))
        } else {
            Self::Killed(libc::WTERMSIG(status))
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Killed(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// A child. Until it is reaped its pid can't be given to another process.
pub struct Child {
    pid: Pid,
    ending: Option<Ending>,
}

/// Forks a child that runs `body` and then ends: with status 0 after `Ok`, with 1 after an
/// error (reported on standard error), with 101 after a panic.
///
/// # Errors
/// `fork(2)`: `EAGAIN` at the limit of processes, `ENOMEM`.
#[expect(clippy::disallowed_methods, reason = "the one home of fork")]
pub fn spawn(body: impl FnOnce() -> io::Result<()>) -> io::Result<Child> {
    let parent = getpid();
    signal::keep_children()?;
    // LAB 01.fork: fork: the child calls run_and_exit(parent, body), the parent returns a Child
    // What is buffered now would otherwise be written twice: the child gets a copy of the buffer.
    io::stdout().flush()?;
    // SAFETY: the programs of this lab have one thread, so no lock is held by another thread
    // that the child doesn't have, and the child may do whatever its parent may.
    match unsafe { fork() }.context("fork")? {
        ForkResult::Parent { child } => Ok(Child { pid: child, ending: None }),
        ForkResult::Child => run_and_exit(parent, body),
    }
    // END 01.fork
}

/// The whole life of a child. `-> !`: falling back into the parent's code is a type error.
fn run_and_exit(parent: Pid, body: impl FnOnce() -> io::Result<()>) -> ! {
    let life = AssertUnwindSafe(|| {
        die_with(parent)?;
        body()
    });
    let status = match catch_unwind(life) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            narrate::write_line(&format!("error: pid {}: {error}", getpid()));
            1
        }
        Err(_) => 101, // the panic hook has already said why
    };
    let _ = io::stdout().flush();
    leave(status)
}

/// Ends this process on the spot. Unlike `exit(3)` this runs nothing that belongs to the parent: no
/// `atexit` handlers, no destructors, no flush of inherited buffers.
pub(crate) fn leave(status: i32) -> ! {
    #[expect(clippy::disallowed_methods, reason = "the one home of _exit")]
    // SAFETY: `_exit` has no preconditions.
    unsafe {
        libc::_exit(status)
    }
}

/// Asks the kernel to kill this process when `parent` ends, however it ends (`prctl(2)`,
/// `PR_SET_PDEATHSIG`).
fn die_with(parent: Pid) -> io::Result<()> {
    // LAB 01.die_with_parent: ask for SIGKILL at the parent's end; make sure it hadn't ended before
    prctl::set_pdeathsig(Signal::SIGKILL).context("prctl PR_SET_PDEATHSIG")?;
    // The parent may have died before that call. Then no signal will come; so send it ourselves.
    if getppid() != parent {
        kill(getpid(), Signal::SIGKILL).context("kill")?;
    }
    Ok(())
    // END 01.die_with_parent
}

/// For a child that has something to do when its parent ends, however it ends: it gets this signal
/// then, and is no longer killed.
///
/// # Errors
/// `prctl(2)`.
pub fn hear_of_the_parents_end(signal: Signal) -> io::Result<()> {
    prctl::set_pdeathsig(signal).context("prctl PR_SET_PDEATHSIG")
}

/// From now on who descends from this process and loses its parent becomes a child of ours, and
/// not of process 1 (`prctl(2)`, `PR_SET_CHILD_SUBREAPER`). Children don't inherit this.
///
/// # Errors
/// `prctl(2)`.
pub fn adopt_orphans() -> io::Result<()> {
    prctl::set_child_subreaper(true).context("prctl PR_SET_CHILD_SUBREAPER")
}

impl Child {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Gives up this handle: from now on the child is [`reap_next`]'s to reap.
    #[must_use]
    pub fn into_pid(self) -> Pid {
        ManuallyDrop::new(self).pid
    }

    /// Sends SIGKILL, unless it has been reaped. A child that has ended doesn't mind.
    pub fn kill(&self) {
        if self.ending.is_none() {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }

    /// Waits for the child's end and takes its status, after which no zombie is left.
    ///
    /// # Errors
    /// `waitpid(2)`.
    pub fn reap(&mut self) -> io::Result<Ending> {
        // LAB 01.reap: wait for the end of this child, keep it in self.ending, return it
        loop {
            if let Some(ending) = self.ending {
                return Ok(ending);
            }
            self.ending = match waitpid(self.pid) {
                Ok(it) if libc::WIFEXITED(it) => Some(Ending::Exited(libc::WEXITSTATUS(it))),
                Ok(it) => Some(Ending::Killed(libc::WTERMSIG(it))),
                Err(Errno::EINTR) => None,
                Err(errno) => return Err(errno).context(format_args!("waitpid {}", self.pid)),
            };
        }
        // END 01.reap
    }

    /// The same without waiting: `None` while the child lives (stage 11).
    ///
    /// # Errors
    /// `waitpid(2)`.
    pub fn try_reap(&mut self) -> io::Result<Option<Ending>> {
        if self.ending.is_none() && !ended(self.pid)? {
            return Ok(None);
        }
        self.reap().map(Some)
    }

    /// A descriptor that becomes readable when the child ends, see `pidfd_open(2)`.
    ///
    /// # Errors
    /// `pidfd_open(2)`: `ENOSYS` before Linux 5.3, `EMFILE`.
    pub fn pidfd(&self) -> io::Result<OwnedFd> {
        // SAFETY: the call takes two numbers and touches no memory of ours.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_open, self.pid.as_raw(), 0) };
        let fd = Errno::result(result).context("pidfd_open")?;
        #[expect(clippy::cast_possible_truncation, reason = "descriptors are ints")]
        // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        let _ = self.reap();
    }
}

/// Takes the status of a child that has ended, whichever it is, without waiting. `None`: all of
/// them still run, or there is none. One SIGCHLD can stand for several: call until there is none.
///
/// # Errors
/// `waitpid(2)`.
pub fn reap_next() -> io::Result<Option<(Pid, Ending)>> {
    loop {
        return match wait(ANY, libc::WNOHANG) {
            Err(Errno::EINTR) => continue,
            Ok((NOBODY, _)) | Err(Errno::ECHILD) => Ok(None),
            Ok((pid, status)) => Ok(Some((pid, Ending::of(status)))),
            Err(errno) => Err(errno).context("waitpid"),
        };
    }
}

/// Kills and reaps every child, and after [`adopt_orphans`] whoever becomes one by that, until
/// nobody is left who descends from this process.
pub fn end_all() {
    loop {
        let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
        }
        if wait(ANY, 0) == Err(Errno::ECHILD) {
            return;
        }
    }
}

/// For `waitpid`: any child.
const ANY: Pid = Pid::from_raw(-1);
/// From `waitpid`: no child has ended.
const NOBODY: Pid = Pid::from_raw(0);

/// `waitpid(2)`. (The wrapper in nix knows no names for real-time signals, and fails when one of
/// them has killed the child.)
fn wait(child: Pid, options: i32) -> Result<(Pid, i32), Errno> {
    let mut status = 0;
    // SAFETY: the call writes one int, and `status` is one.
    let result = unsafe { libc::waitpid(child.as_raw(), &raw mut status, options) };
    Errno::result(result).map(|pid| (Pid::from_raw(pid), status))
}

/// Waits for the end of a child and returns its status as `wait(2)` describes it.
fn waitpid(child: Pid) -> Result<i32, Errno> {
    wait(child, 0).map(|(_, status)| status)
}

/// Closes every descriptor but standard input, output, error and `keep`: for a child that wants
/// none of what it inherited. Close-on-exec doesn't help it, for it never calls `exec`.
///
/// # Errors
/// `close_range(2)`: `ENOSYS` before Linux 5.9.
pub fn close_all_but(keep: BorrowedFd<'_>) -> io::Result<()> {
    close_all_but_these(&[keep])
}

/// The same for a child that wants several of them (stage 09).
///
/// # Errors
/// `close_range(2)`: `ENOSYS` before Linux 5.9.
pub fn close_all_but_these(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd().unsigned_abs()).collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep {
        close_range(first, fd - 1)?;
        first = fd + 1;
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: the call takes numbers and touches no memory. The objects that own the closed
    // descriptors are the parent's; this process never uses or drops them (see the file header).
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    Errno::result(result).context("close_range").map(drop)
}

/// Has this child ended? It stays to be reaped (`WNOWAIT`, see `waitid(2)`).
fn ended(child: Pid) -> io::Result<bool> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: a siginfo_t is plain numbers, for which zeros will do.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes one siginfo_t, and `info` is one.
    let result =
        unsafe { libc::waitid(libc::P_PID, child.as_raw().unsigned_abs(), &raw mut info, flags) };
    Errno::result(result).context(format_args!("waitid {child}"))?;
    // SAFETY: waitid(2) sets si_pid, to 0 if there is nothing to tell.
    Ok(unsafe { info.si_pid() } != 0)
}

/// Raises the soft limit of open descriptors to the hard one, see `getrlimit(2)`: the parent of
/// 1,024 workers needs more than the usual 1,024. A limit that can't be raised stays.
pub fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

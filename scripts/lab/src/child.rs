//! The one child of `cargo lab watch`, and all that descends from it.
//!
//! Interface: [`Child::start`]; it is readable (`poll(2)`) when it has ended; [`Child::stop`].
//! Rules: nobody of the family outlives [`Child::stop`], however they tried to get away, see
//! [`family`]. So this process must have no other children. Should it be killed, the child goes
//! with it (`PR_SET_PDEATHSIG`).

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{self, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::family;

/// So long a child that was asked to end may take, in milliseconds: it has a family to end, too.
const GRACE: u16 = 10_000;

/// A running child.
pub struct Child {
    process: process::Child,
    /// Readable when it has ended. See `pidfd_open(2)`.
    pidfd: OwnedFd,
}

impl Child {
    /// Starts it, without a standard input, and with no signal blocked.
    pub fn start(command: &mut Command) -> Result<Self> {
        family::adopt_orphans().context("prctl PR_SET_CHILD_SUBREAPER")?;
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null());
        let mut process = command.spawn().with_context(|| format!("start {program}"))?;
        match pidfd(&process) {
            Ok(pidfd) => Ok(Self { process, pidfd }),
            Err(error) => {
                let _ = process.kill(); // it can't be watched, so it can't stay
                let _ = process.wait();
                Err(error)
            }
        }
    }

    /// Makes the command fit to be started, as often as one likes.
    pub fn prepare(command: &mut Command) {
        family::unblock_signals(command);
        let end_with_us = || Ok(prctl::set_pdeathsig(Signal::SIGKILL)?);
        // SAFETY: `end_with_us` is one system call, which is allowed between fork and exec.
        unsafe { command.pre_exec(end_with_us) };
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process.try_wait().context("waitpid")
    }

    /// Asks it to end, and waits for that; but not for long, and not when `hurry` is readable. Then
    /// ends it, and whoever is left of its family.
    pub fn stop(mut self, hurry: BorrowedFd<'_>) -> Result<()> {
        if self.ended()?.is_none() {
            let _ = kill(pid(&self.process), Signal::SIGTERM); // fails if it has just ended
            let waited_for = [self.as_fd(), hurry];
            poll(&mut waited_for.map(|fd| PollFd::new(fd, PollFlags::POLLIN)), GRACE)?;
            let _ = self.process.kill();
            self.process.wait().context("waitpid")?;
        }
        if waitpid(None, Some(WaitPidFlag::WNOHANG)) != Err(Errno::ECHILD) {
            family::end(&BTreeSet::new(), None);
        }
        Ok(())
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

fn pid(process: &process::Child) -> Pid {
    Pid::from_raw(process.id().cast_signed())
}

/// Readable when the process has ended, see `pidfd_open(2)`.
pub fn pidfd(process: &process::Child) -> Result<OwnedFd> {
    // SAFETY: the call takes two numbers and touches no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process.id(), 0) };
    let fd = Errno::result(fd).context("pidfd_open")?;
    // SAFETY: the call succeeded, so this is a new descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd)?) })
}

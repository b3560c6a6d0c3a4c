//! Programs that a client asks for by name, run as the old CGI servers did: `fork`, `dup2`, `exec`.
//!
//! Purpose: what the program prints goes straight to the client; no byte passes through a worker.
//! Interface: [`Directory::open`] once, [`Directory::find`] a name, [`Program::start`].
//! Rules: the name comes from a stranger. Only a plain file name inside the directory is run, by
//! the descriptor that was looked at, with no shell, no inherited descriptor and next to no
//! environment. A program has a time limit. At its end, at the limit, and when the worker dies,
//! however it dies, nobody of it is left: for that each program has a keeper, the process between
//! it and the worker.
//! First used by stage 09. See `execveat(2)`, `open(2)` (`O_PATH`), `dup(2)`.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{AtFlags, FcntlArg, FdFlag, OFlag, fcntl, open, openat};
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Pid, dup2_stdin, dup2_stdout, execveat, fchdir, setpgid};

use crate::error::Context;
use crate::narrate::printable;
use crate::poller::{Interest, Poller};
use crate::process::{self, Child};
use crate::signal::{self, Signals};
use crate::tcp::try_send;
use crate::transfer::drain;

/// All that a program finds in its environment. What the server has in its own is nobody's business.
const ENVIRONMENT: [&CStr; 1] = [c"PATH=/usr/local/bin:/usr/bin:/bin"];

/// The directory whose programs may be run, and no others.
pub struct Directory(OwnedFd);

/// A program that was found: open, but not to be read.
pub struct Program<'a> {
    directory: &'a Directory,
    file: OwnedFd,
    name: CString,
}

impl Directory {
    /// Opens the directory. From now on its path doesn't matter.
    ///
    /// # Errors
    /// `open(2)`: `ENOENT`, `ENOTDIR`, `EACCES`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let what = path.display();
        Ok(Self(open(path, flags, Mode::empty()).context(format_args!("open {what}"))?))
    }

    /// Finds the program of this name.
    ///
    /// # Errors
    /// A name that is no plain file name; `openat(2)`: `ENOENT`, `ENAMETOOLONG`; something that
    /// isn't an executable regular file.
    pub fn find(&self, name: &[u8]) -> io::Result<Program<'_>> {
        let shown = printable(name);
        // LAB 09.find: take a plain name only; open it inside the directory; look at what is open
        if name.is_empty() || name.iter().any(|&byte| byte == b'/' || byte.is_ascii_control()) {
            return Err(io::Error::other(format!("\"{shown}\" is no name of a program")));
        }
        // O_NOFOLLOW: a symbolic link could lead out of the directory. O_PATH: only to be looked
        // at and run, so no FIFO makes us wait, and nobody needs the right to read it.
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&self.0, name, flags, Mode::empty());
        let file = file.context(format_args!("open {shown}"))?;
        // Not by its name: that could be another file by now.
        let mode = fstat(&file).context(format_args!("fstat {shown}"))?.st_mode;
        let is_file = SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG;
        if !is_file || mode & 0o111 == 0 {
            return Err(io::Error::other(format!("{shown}: not an executable file")));
        }
        Ok(Program { directory: self, file, name: CString::new(name)? })
        // END 09.find
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Program<'_> {
    /// Runs the program with its standard output on `connection` and returns the pid of its
    /// keeper, which ends when all is over: a child to be reaped with [`process::reap_next`].
    /// The caller closes its own copy of the connection, or the client never sees the end.
    ///
    /// # Errors
    /// `fork(2)`. What fails later, the client is told.
    pub fn start(&self, connection: &OwnedFd, limit: Duration) -> io::Result<Pid> {
        let keeper = process::spawn(|| {
            let kept = self.keep(connection, limit);
            if let Err(error) = &kept {
                let _ = try_send(connection, format!("error: {error}\n").as_bytes());
            }
            // Closed with something unread, the connection would be reset, and the end be lost.
            drain(connection);
            match kept? {
                Outcome::Ended => Ok(()),
                Outcome::TooSlow => {
                    let (name, seconds) = (printable(self.name.as_bytes()), limit.as_secs());
                    Err(io::Error::other(format!("{name} was killed after {seconds} s")))
                }
            }
        })?;
        Ok(keeper.into_pid())
    }

    /// What the keeper does: starts the program, waits, and leaves nobody behind.
    fn keep(&self, connection: &OwnedFd, limit: Duration) -> io::Result<Outcome> {
        // Among the worker's descriptors are the connections of all its other clients.
        let keep = [connection.as_fd(), self.file.as_fd(), self.directory.as_fd()];
        process::close_all_but_these(&keep)?;
        // A group of its own: Ctrl-C is for the server, which lets programs finish.
        setpgid(Pid::from_raw(0), Pid::from_raw(0)).context("setpgid")?;
        process::adopt_orphans()?; // also who leaves the program's group is found at the end
        let parent_died = Signals::catch(&[Signal::SIGTERM])?;
        process::hear_of_the_parents_end(Signal::SIGTERM)?;
        let program = process::spawn(|| {
            let Err(error) = self.become_it(connection);
            let _ = try_send(connection, format!("error: {error}\n").as_bytes());
            Err(error)
        })?;
        let outcome = wait(&program, &parent_died, Instant::now() + limit);
        // It isn't reaped yet, so its number is still that of its group, and of no other. A shell
        // has children, and one in the background would hold the connection open.
        let _ = killpg(program.pid(), Signal::SIGKILL);
        process::end_all();
        let _ = program.into_pid(); // reaped with all others
        outcome
    }

    /// The last thing that the child does as itself. It returns only if that fails.
    fn become_it(&self, connection: &OwnedFd) -> io::Result<Infallible> {
        let name = printable(self.name.as_bytes());
        // A group of its own, so that the keeper can kill all of it at once.
        setpgid(Pid::from_raw(0), Pid::from_raw(0)).context("setpgid")?;
        // LAB 09.exec: stdin from /dev/null, stdout to the connection, no signal changed; execveat
        dup2_stdin(File::open("/dev/null").context("open /dev/null")?).context("dup2")?;
        dup2_stdout(connection).context("dup2")?;
        fchdir(self.directory).context("fchdir")?;
        signal::reset_all()?;
        // All descriptors above 2 close by themselves now, but for this one: the interpreter of a
        // script opens its file anew, as /dev/fd/N.
        fcntl(&self.file, FcntlArg::F_SETFD(FdFlag::empty())).context("fcntl F_SETFD")?;
        let flags = AtFlags::AT_EMPTY_PATH; // run what is open, not what has that name by now
        execveat(&self.file, c"", &[&self.name], &ENVIRONMENT, flags).context(format!("run {name}"))
        // END 09.exec
    }
}

/// Why a keeper stopped waiting.
enum Outcome {
    /// The program has ended, or there is no worker any more to keep it for.
    Ended,
    /// Its time was over.
    TooSlow,
}

/// Waits for the program's end, which is not reaped, for the parent's, or for the deadline.
fn wait(program: &Child, parent_died: &Signals, deadline: Instant) -> io::Result<Outcome> {
    let program_ended = program.pidfd()?;
    let mut poller = Poller::new()?;
    poller.add(&program_ended, Interest::Read, ())?;
    poller.add(parent_died, Interest::Read, ())?;
    while poller.wait(Some(deadline))?.is_empty() {
        if Instant::now() >= deadline {
            return Ok(Outcome::TooSlow);
        }
    }
    Ok(Outcome::Ended)
}

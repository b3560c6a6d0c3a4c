//! Programs that the bench needs beside itself: servers that no stage is, and loops that fork.
//!
//! They are run as `lab bench-part …`, each a process of its own: the bench itself has threads at
//! times, and a process with threads can't be forked safely.

use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, SpliceFFlags, fcntl, splice};
use nix::sys::prctl;
use nix::sys::sendfile::sendfile64;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pause, pipe};

use crate::measure::primitives::{self, Primitive};

/// What a worker of [`Part::Accept`] says to everybody.
pub const LINE: &[u8] = b"hello from a worker that has accepted you\n";

/// Which of them.
#[derive(clap::Subcommand)]
pub enum Part {
    /// Send a file to one client after the other, by splice, without a header
    Splice { file: PathBuf },
    /// Fork a process for each client, which sends it the file as stage 06 does
    Fork { file: PathBuf },
    /// Fork workers, which accept clients themselves and send each the same line
    Accept { workers: u16 },
    /// Do one thing again and again, and print how long it takes once
    Primitive { which: Primitive, milliseconds: u64 },
}

/// This program, as one of them.
pub fn command<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("bench-part").args(args);
    command
}

/// Does it. The servers don't return: they are ended by a signal.
pub fn run(part: &Part) -> Result<ExitCode> {
    match part {
        Part::Splice { file } => serve_by_splice(file)?,
        Part::Fork { file } => serve_by_forks(file)?,
        Part::Accept { workers } => accept_in_workers(*workers)?,
        Part::Primitive { which, milliseconds } => primitives::time(*which, *milliseconds)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Listens on a free port and says so in the words of the stages.
fn listen() -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind")?;
    println!("listening on {}", listener.local_addr()?);
    io::stdout().flush()?;
    Ok(listener)
}

fn serve_by_splice(file: &Path) -> Result<()> {
    let listener = listen()?;
    let (read, write) = pipe()?;
    let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(1 << 20)); // or as large as may be
    loop {
        let (client, _) = listener.accept().context("accept")?;
        let file = File::open(file).context("open")?;
        loop {
            let flags = SpliceFFlags::empty();
            let mut inside = splice(&file, None, &write, None, 1 << 20, flags).context("splice")?;
            if inside == 0 {
                break;
            }
            while inside > 0 {
                let flags = SpliceFFlags::SPLICE_F_MORE;
                inside -= splice(&read, None, &client, None, inside, flags).context("splice")?;
            }
        }
    }
}

fn serve_by_forks(file: &Path) -> Result<()> {
    let listener = listen()?;
    loop {
        let (client, _) = listener.accept().context("accept")?;
        child(|| send_file(client, file))?;
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(it) if it.pid().is_some()) {}
    }
}

/// With the header of stage 06, in one piece with the bytes.
fn send_file(mut client: TcpStream, file: &Path) -> Result<()> {
    let name = file.file_name().context("a name")?.as_encoded_bytes();
    let file = File::open(file).context("open")?;
    let size = file.metadata()?.len();
    let header = [&(name.len() as u64).to_le_bytes(), &size.to_le_bytes(), name].concat();
    send_more(client.as_fd(), &header)?;
    let mut left = size;
    while left > 0 {
        let sent = sendfile64(&client, &file, None, left as usize).context("sendfile")?;
        ensure!(sent > 0, "the file shrank");
        left -= sent as u64;
    }
    client.flush().context("send")
}

fn send_more(client: BorrowedFd<'_>, bytes: &[u8]) -> Result<()> {
    use nix::sys::socket::{MsgFlags, send};
    use std::os::fd::AsRawFd;
    let flags = MsgFlags::from_bits_retain(libc::MSG_MORE);
    send(client.as_raw_fd(), bytes, flags).context("send").map(drop)
}

fn accept_in_workers(workers: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind")?;
    for _ in 0..workers {
        child(|| {
            loop {
                let (mut client, _) = listener.accept().context("accept")?;
                let _ = client.write_all(LINE); // a client may leave
            }
        })?;
    }
    println!("listening on {}", listener.local_addr()?);
    io::stdout().flush()?;
    loop {
        pause();
    }
}

/// Forks a child that does this and ends, with its parent at the latest.
#[expect(clippy::disallowed_methods, reason = "what is measured, and stages may be unfinished")]
pub fn child(life: impl FnOnce() -> Result<()>) -> Result<Pid> {
    // SAFETY: this process has one thread, so the child may do what its parent may.
    let forked = unsafe { fork() };
    match forked.context("fork")? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let result =
                prctl::set_pdeathsig(Signal::SIGKILL).map_err(Into::into).and_then(|()| life());
            // SAFETY: `_exit` has no preconditions.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
    }
}

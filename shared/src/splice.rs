//! Moving bytes inside the kernel with `splice(2)`: between a file and a socket, through a pipe.
//!
//! Purpose: the payload never enters user space. At the server that means no copy at all: the
//! pages of the file travel through the pipe to the socket. At the client the kernel still
//! copies once, into the pages of the file.
//! Interface: [`Pipe::new`], then [`Pipe::send_file`] or [`Pipe::recv_file`].
//! Rules: one of the two sides of a splice must be a pipe. What a splice put into the pipe has to
//! be taken out again, all of it, before the next. After an error something may be left in it: so
//! a pipe serves one transfer, and is dropped with what is in it. Not every file system knows
//! splice (`EINVAL`); such a file is copied, from where splice stopped, and the caller hears of it.
//! First used by stage 07. See `splice(2)`, `pipe(7)`.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;

use crate::error::Context;
use crate::protocol::{ProtocolError, shrank};
use crate::transfer::Connection;

/// How much we want a pipe to hold, in bytes: the most that an unprivileged process may ask for
/// by default. It decides the speed, for it is how much two system calls move.
const WANTED: usize = 1 << 20;

/// What any pipe holds, in bytes: a page. All that is certain where a sandbox forbids to ask.
const SMALLEST: i32 = 4096;

/// How the bytes of a file went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Inside the kernel.
    Spliced,
    /// Through a buffer of ours, at least in part: the file can't be spliced.
    Copied,
}

/// What people are told of [`Way::Copied`].
pub const COPIED: &str = "splice doesn't work with this file: its bytes were copied";

/// How much is copied at once where splice doesn't work, in bytes.
const BUFFER: usize = 256 << 10;

/// A pipe and what fits into it.
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
}

impl Pipe {
    /// Makes a pipe of 1 MiB, or as large as the system allows, for a transfer of `size` bytes.
    ///
    /// # Errors
    /// `pipe2(2)`: `EMFILE`, `ENFILE`.
    pub fn new(size: u64) -> io::Result<Self> {
        // LAB 07.pipe: make a pipe; ask for more if it holds less than wanted; keep what we got
        let (read, write) = pipe2(OFlag::O_CLOEXEC).context("pipe2")?;
        let present = fcntl(&write, FcntlArg::F_GETPIPE_SZ).unwrap_or(SMALLEST);
        let wanted = WANTED.min(usize::try_from(size).unwrap_or(WANTED));
        let mut capacity = present.unsigned_abs() as usize;
        if wanted > capacity {
            // EPERM: this user's pipes hold too much already. Then the pipe stays as it is, so
            // take the size that we have, never the one that we asked for.
            if let Ok(granted) = fcntl(&write, FcntlArg::F_SETPIPE_SZ(wanted as i32)) {
                capacity = granted.unsigned_abs() as usize;
            }
        }
        Ok(Self { read, write, capacity })
        // END 07.pipe
    }

    /// Sends the first `size` bytes of `file`, whose offset is at its beginning.
    ///
    /// # Errors
    /// The peer left or stalled; the file has become shorter than `size`.
    pub fn send_file(self, connection: &mut Connection, file: &File, size: u64) -> io::Result<Way> {
        match self.splice_out(connection, file, size) {
            Err(error) if means_copy(&error) => self.copy_out(connection, file, size),
            result => result.map(|()| Way::Spliced),
        }
    }

    fn splice_out(&self, connection: &mut Connection, file: &File, size: u64) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            // LAB 07.send_file: fill the pipe from the file, then drain it; the file may shrink
            let filled = self.fill_from_file(file, left)?;
            if filled == 0 {
                return Err(shrank());
            }
            left -= filled as u64;
            self.drain_to(connection, filled, left > 0)?;
            // END 07.send_file
        }
        Ok(())
    }

    fn fill_from_file(&self, file: &File, left: u64) -> io::Result<usize> {
        let length = self.at_most(left);
        loop {
            match splice(file, None, &self.write, None, length, SpliceFFlags::empty()) {
                Err(Errno::EINTR) => {}
                result => return result.context("splice from the file"),
            }
        }
    }

    /// Empties the pipe into the connection.
    fn drain_to(&self, connection: &mut Connection, filled: usize, more: bool) -> io::Result<()> {
        // LAB 07.drain_to: splice to the connection until nothing is inside; the peer may be slow
        // SPLICE_F_MORE is what MSG_MORE is to send(2). SPLICE_F_MOVE has meant nothing since
        // Linux 2.6.21, so nobody sets it here.
        let mut flags = SpliceFFlags::empty();
        flags.set(SpliceFFlags::SPLICE_F_MORE, more);
        let mut inside = filled;
        while inside > 0 {
            // splice has no MSG_NOSIGNAL. A peer that left doesn't kill us with SIGPIPE because
            // Rust's runtime has that signal ignored before `main`, and children inherit that.
            match splice(&self.read, None, connection.as_fd(), None, inside, flags) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(moved) => {
                    inside -= moved;
                    connection.moved();
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => connection.waited()?,
                Err(errno) => return Err(errno).context("splice to the connection"),
            }
        }
        Ok(())
        // END 07.drain_to
    }

    /// Receives `size` bytes into `file`. `show` is told now and then how many have come.
    ///
    /// # Errors
    /// The peer left or stalled; an early end; `ENOSPC` and others of `write(2)`.
    pub fn recv_file(
        self,
        connection: &mut Connection,
        file: &File,
        size: u64,
        mut show: impl FnMut(u64),
    ) -> io::Result<Way> {
        match self.splice_in(connection, file, size, &mut show) {
            Err(error) if means_copy(&error) => self.copy_in(connection, file, size, &mut show),
            result => result.map(|()| Way::Spliced),
        }
    }

    fn splice_in(
        &self,
        connection: &mut Connection,
        file: &File,
        size: u64,
        show: &mut impl FnMut(u64),
    ) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            // LAB 07.recv_file: fill the pipe from the connection, drain it to the file, show it
            let filled = self.fill_from(connection, left)?;
            if filled == 0 {
                return Err(ProtocolError::Closed(size - left, size).into());
            }
            self.drain_to_file(file, filled)?;
            left -= filled as u64;
            show(size - left);
            // END 07.recv_file
        }
        Ok(())
    }

    fn fill_from(&self, connection: &Connection, left: u64) -> io::Result<usize> {
        let length = self.at_most(left);
        loop {
            let flags = SpliceFFlags::empty();
            match splice(connection.as_fd(), None, &self.write, None, length, flags) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(connection.no_data()),
                Err(Errno::ECONNRESET) => return Ok(0), // either way no byte will come any more
                result => return result.context("splice from the connection"),
            }
        }
    }

    /// Empties the pipe into the file.
    fn drain_to_file(&self, file: &File, filled: usize) -> io::Result<()> {
        // LAB 07.drain_to_file: splice to the file until nothing is inside
        let mut inside = filled;
        while inside > 0 {
            match splice(&self.read, None, file, None, inside, SpliceFFlags::empty()) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(moved) => inside -= moved,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("splice to the file"),
            }
        }
        Ok(())
        // END 07.drain_to_file
    }

    /// Sends what splice has left in the pipe, and then the rest of the file.
    fn copy_out(self, connection: &mut Connection, mut file: &File, size: u64) -> io::Result<Way> {
        drop(self.write); // so that what is in the pipe has an end
        let left = size - file.stream_position().context("lseek")?;
        let mut rest = File::from(self.read).chain(file.take(left));
        let mut buffer = vec![0; BUFFER];
        loop {
            match rest.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => connection.send_all(&buffer[..length])?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("read the file"),
            }
        }
        let (_, file) = rest.into_inner();
        if file.limit() == 0 { Ok(Way::Copied) } else { Err(shrank()) }
    }

    /// Writes what splice has left in the pipe, and then what is still to come.
    fn copy_in(
        self,
        connection: &mut Connection,
        mut file: &File,
        size: u64,
        show: &mut impl FnMut(u64),
    ) -> io::Result<Way> {
        drop(self.write); // so that what is in the pipe has an end
        let mut buffer = Vec::new();
        File::from(self.read).read_to_end(&mut buffer).context("read the pipe")?;
        file.write_all(&buffer).context("write the file")?;
        buffer.resize(BUFFER, 0);
        let mut received = file.stream_position().context("lseek")?;
        show(received);
        while received < size {
            let room = usize::try_from(size - received).map_or(BUFFER, |left| left.min(BUFFER));
            let length = connection.recv_some(&mut buffer[..room])?;
            if length == 0 {
                return Err(ProtocolError::Closed(received, size).into());
            }
            file.write_all(&buffer[..length]).context("write the file")?;
            received += length as u64;
            show(received);
        }
        Ok(Way::Copied)
    }

    fn at_most(&self, left: u64) -> usize {
        usize::try_from(left).map_or(self.capacity, |left| left.min(self.capacity))
    }
}

/// `EINVAL` is what a file system says that doesn't know splice, `ENOSYS` a sandbox that forbids it.
fn means_copy(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported)
}

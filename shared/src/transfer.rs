//! Moving bytes through a TCP connection until all of them are through.
//!
//! Purpose: `send(2)` and `recv(2)` may move less than they were asked to; these loops don't.
//! Interface: a [`Connection`] with [`send_all`](Connection::send_all),
//! [`send_more`](Connection::send_more), [`recv_some`](Connection::recv_some),
//! [`recv_exact`](Connection::recv_exact).
//! Rules: `EINTR` means "again". 0 from `recv` means "the end", never "no progress". A peer that
//! left is an error (`EPIPE`, `ECONNRESET`), never a SIGPIPE. A peer that is slow is waited for;
//! one that makes no progress for the stall timeout is given up.
//! The heart of stage 04; stages 01 and 03 use what their short messages need of it.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{self, MsgFlags, sockopt};

use crate::error::Context;
use crate::tcp::{set_timeout, try_recv};

/// A blocking TCP connection and our patience with the other side.
pub struct Connection {
    socket: OwnedFd,
    stall_timeout: Duration,
    /// How many waits in a row nothing has moved. Each is a [`WAITS`]th of the timeout.
    waits: u32,
    /// What the peer had not acknowledged when we last looked.
    unacknowledged: i32,
}

/// While a send is stuck we look so many times a stall timeout whether the peer moves at all.
const WAITS: u32 = 4;

impl Connection {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// `setsockopt(2)`.
    pub fn new(socket: OwnedFd, stall_timeout: Duration) -> io::Result<Self> {
        set_timeout(&socket, sockopt::SendTimeout, stall_timeout / WAITS)?;
        set_timeout(&socket, sockopt::ReceiveTimeout, stall_timeout)?;
        Ok(Self { socket, stall_timeout, waits: 0, unacknowledged: 0 })
    }

    /// Takes over a connected socket and waits for the peer for ever: in stage 03 a client may
    /// think as long as it likes.
    #[must_use]
    pub fn patient(socket: OwnedFd) -> Self {
        Self { socket, stall_timeout: Duration::MAX, waits: 0, unacknowledged: 0 }
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// The peer left (`EPIPE`, `ECONNRESET`) or stalled; `EFAULT` if `bytes` are a mapping of a
    /// file that has shrunk.
    pub fn send_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.send_with(bytes, MsgFlags::empty())
    }

    /// Sends all of `bytes` and promises more (`MSG_MORE`): the last, partly filled segment waits
    /// for what follows instead of travelling alone. See `send(2)`, `tcp(7)`.
    ///
    /// # Errors
    /// Those of [`send_all`](Self::send_all).
    pub fn send_more(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.send_with(bytes, MsgFlags::from_bits_retain(libc::MSG_MORE)) // nix has no name for it
    }

    /// Sends all of `bytes`, with as many calls as that takes. A call that moved something is
    /// followed by [`moved`](Self::moved), one that waited in vain by [`waited`](Self::waited).
    /// `EFAULT` is returned bare: to whoever sends from a mapping it means something of its own.
    fn send_with(&mut self, mut bytes: &[u8], flags: MsgFlags) -> io::Result<()> {
        // LAB 04.send_all: send until nothing is left, whatever a call moves, and without SIGPIPE
        // Rust programs ignore SIGPIPE from the start, but a library doesn't count on it.
        let flags = flags | MsgFlags::MSG_NOSIGNAL;
        while !bytes.is_empty() {
            match socket::send(self.socket.as_raw_fd(), bytes, flags) {
                Ok(sent) => {
                    bytes = &bytes[sent..];
                    self.moved();
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.waited()?,
                Err(Errno::EFAULT) => return Err(Errno::EFAULT.into()),
                Err(errno) => return Err(errno).context("send"),
            }
        }
        Ok(())
        // END 04.send_all
    }

    /// To be called when some bytes were sent.
    pub(crate) fn moved(&mut self) {
        self.waits = 0;
    }

    /// To be called when a send waited in vain (`EAGAIN` because of `SO_SNDTIMEO`).
    ///
    /// That alone doesn't mean that the peer has stopped: a sender is woken only when a third of
    /// its large buffer is free, and a slow peer may need minutes for that. So ask how much of
    /// the buffer is still to be acknowledged (`SIOCOUTQ`, see `tcp(7)`) and look for change.
    ///
    /// # Errors
    /// `ETIMEDOUT` when there was none for the whole stall timeout.
    pub(crate) fn waited(&mut self) -> io::Result<()> {
        let unacknowledged = unacknowledged(&self.socket)?;
        self.waits = if unacknowledged == self.unacknowledged { self.waits + 1 } else { 0 };
        self.unacknowledged = unacknowledged;
        if self.waits < WAITS {
            return Ok(());
        }
        let seconds = self.stall_timeout.as_secs();
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no progress for {seconds} s")))
    }

    /// Receives what is there, at least a byte. 0: no byte will come any more, for the peer has
    /// closed the connection or reset it (`ECONNRESET`).
    ///
    /// # Errors
    /// Nothing came for the stall timeout.
    pub fn recv_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match socket::recv(self.socket.as_raw_fd(), buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(self.no_data()),
                Err(Errno::ECONNRESET) => return Ok(0),
                result => return result.context("recv"),
            }
        }
    }

    /// Fills `buffer`. Returns its length, or less if the peer's last byte came before that:
    /// 0 is a clean end, anything between is a truncation.
    ///
    /// # Errors
    /// Those of [`recv_some`](Self::recv_some).
    pub fn recv_exact(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // LAB 04.recv_exact: receive until the buffer is full or the stream ends; return the length
        let mut filled = 0;
        while filled < buffer.len() {
            match self.recv_some(&mut buffer[filled..])? {
                0 => break,
                received => filled += received,
            }
        }
        Ok(filled)
        // END 04.recv_exact
    }

    /// The error for a peer that sent nothing for the stall timeout.
    pub(crate) fn no_data(&self) -> io::Error {
        let seconds = self.stall_timeout.as_secs();
        io::Error::new(io::ErrorKind::TimedOut, format!("no data for {seconds} s"))
    }

    /// Closes the connection in a way that lets the peer have all that was sent, unless it sends
    /// us more after this.
    ///
    /// What the peer sent us and nobody read must go first: closing a socket with unread data
    /// makes the kernel reset the connection and drop what is still under way to the peer.
    pub fn close(self) {
        drain(&self.socket);
    }
}

/// Reads what is there and drops it. True: more may come later; false: the peer is done, or has
/// sent more than anybody wants to read.
pub fn drain(socket: &OwnedFd) -> bool {
    let mut waste = [0; 4096];
    // A peer that sends without end doesn't hold us up: 1 MiB is enough of politeness.
    for _ in 0..256 {
        match try_recv(socket, &mut waste) {
            Ok(1..) => {}
            Ok(0) => return false,
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    false
}

/// Bytes that the kernel holds for the peer: not sent, or sent and not acknowledged.
fn unacknowledged(socket: &OwnedFd) -> io::Result<i32> {
    let mut bytes = 0;
    // SAFETY: TIOCOUTQ (SIOCOUTQ for a socket) writes one int, and `bytes` is one.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    Errno::result(result).context("ioctl SIOCOUTQ")?;
    Ok(bytes)
}

/// For the short messages of stages 01 and 03, with the standard library's `write_all`. For a
/// transfer it won't do: it gives up at the first wait and knows no `MSG_MORE`.
impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        socket::send(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL).context("send")
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Writes all of `slices`, in order, with as few calls as possible (`writev(2)`).
///
/// # Errors
/// `write(2)`: `ENOSPC`, `EFBIG`, `EIO`.
pub fn write_all_vectored(mut file: &File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0); // skips what is empty
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

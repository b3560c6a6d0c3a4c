//! The channel between the parent and one worker: a socketpair with typed messages.
//!
//! Purpose: jobs travel one way, answers and reports the other, over `socketpair(2)`.
//! Interface: [`pair`] makes both ends; each has a type of its own, so that they can't be
//! confused. Stage 02 sends lines and answers, stage 03 connections and "done", stage 08 adds
//! "leave"; stage 09 sends nothing but "accept".
//! Rules: the socket is `SOCK_SEQPACKET`: a message arrives whole or not at all, and the end of
//! the other process arrives as the end of the channel. That needs every copy of the other end
//! to be closed: a worker calls [`close_all_but`](crate::process::close_all_but) first.
//! First used by stage 02.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, MsgFlags, Shutdown, SockFlag, SockType};

use crate::error::Context;
use crate::fd_passing::{recv_fd, send_fd};
use crate::lines::MAX_ANSWER;

/// The parent's end.
pub struct ParentEnd(OwnedFd);

/// The worker's end.
pub struct WorkerEnd(OwnedFd);

/// What the parent wants of a worker (stage 03 on).
pub enum Task {
    /// Serve this client.
    Connection(OwnedFd),
    /// Nothing more will come: end (stage 08).
    Leave,
}

/// What a worker finds in its channel (stage 09).
#[derive(Debug, PartialEq, Eq)]
pub enum Word {
    /// Somebody waits in the queue of the listener.
    Accept,
    /// The channel is at its end: the parent is dead.
    Gone,
    /// Nothing more.
    Nothing,
}

/// What reached the parent from a worker (stage 02).
pub enum Answer {
    /// The answer to its line.
    Bytes(Vec<u8>),
    /// The channel is at its end: the worker is dead or dying.
    Gone,
    /// Nothing yet.
    Nothing,
}

/// What reached the parent from a worker (stage 03 on).
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    /// The worker is done with its client and free for the next.
    Done,
    /// The channel is at its end: the worker is dead or dying.
    Gone,
    /// Nothing yet.
    Nothing,
}

/// The first byte of a task.
const CONNECTION: u8 = b'C';
const LEAVE: u8 = b'L';
/// The whole of what stage 09 says.
const ACCEPT: &[u8] = b"A";
/// A report is this one byte. Whose it is, the channel itself says.
const DONE: &[u8] = b"D";

/// Makes a channel. Both ends are in this process until it forks.
///
/// # Errors
/// `socketpair(2)`: `EMFILE`, `ENFILE`.
pub fn pair() -> io::Result<(ParentEnd, WorkerEnd)> {
    // LAB 02.socketpair: make a SEQPACKET pair, close-on-exec, and give each end its type
    let flags = SockFlag::SOCK_CLOEXEC;
    let (parent, worker) =
        socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
            .context("socketpair")?;
    Ok((ParentEnd(parent), WorkerEnd(worker)))
    // END 02.socketpair
}

impl ParentEnd {
    /// Sends a line, given without its newline, to be answered (stage 02).
    ///
    /// # Errors
    /// `EPIPE` or `ECONNRESET` when the worker is dead.
    pub fn send_line(&self, line: &[u8]) -> io::Result<()> {
        // The newline goes along, or an empty line would look like the end of the channel.
        send(&self.0, &[line, b"\n"].concat())
    }

    /// Takes the worker's answer (stage 02), without waiting.
    #[must_use]
    pub fn recv_answer(&self) -> Answer {
        let mut answer = vec![0; MAX_ANSWER];
        match recv(&self.0, &mut answer, MsgFlags::MSG_DONTWAIT) {
            Ok(length @ 1..) => {
                answer.truncate(length);
                Answer::Bytes(answer)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Answer::Nothing,
            // At its end, or reset with a line unread.
            Ok(_) | Err(_) => Answer::Gone,
        }
    }

    /// Passes a connection to the worker (stage 03). The caller still has its own copy.
    ///
    /// # Errors
    /// `EPIPE` or `ECONNRESET` when the worker is dead.
    pub fn send_connection(&self, connection: BorrowedFd<'_>) -> io::Result<()> {
        send_fd(self.0.as_fd(), CONNECTION, connection)
    }

    /// Tells the worker to end once it is done (stage 08). No descriptor travels with it.
    ///
    /// # Errors
    /// `EPIPE` or `ECONNRESET` when the worker is dead.
    pub fn send_leave(&self) -> io::Result<()> {
        send(&self.0, &[LEAVE])
    }

    /// Takes what the worker reports (stage 03), without waiting.
    #[must_use]
    pub fn recv_report(&self) -> Report {
        let mut byte = [0];
        match recv(&self.0, &mut byte, MsgFlags::MSG_DONTWAIT) {
            Ok(1) if byte == DONE => Report::Done,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Report::Nothing,
            // At its end, reset with a task unread, or talking nonsense: that worker is lost.
            Ok(_) | Err(_) => Report::Gone,
        }
    }

    /// Tells the worker that somebody waits in the queue of the listener (stage 09). Never waits
    /// itself: a worker that stands still must not hold up the parent.
    ///
    /// # Errors
    /// `EPIPE` or `ECONNRESET` when the worker has closed its end; `EAGAIN` when it has hundreds
    /// of these words to read already.
    pub fn send_accept(&self) -> io::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        socket::send(self.0.as_raw_fd(), ACCEPT, flags).context("send on the channel").map(drop)
    }
}

impl WorkerEnd {
    /// Waits for a line (stage 02) and returns it without its newline. `buffer` has to hold the
    /// longest line and one byte more. `None`: the parent is gone.
    ///
    /// # Errors
    /// `recv(2)`.
    pub fn recv_line<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        let length = recv(&self.0, buffer, MsgFlags::empty())?;
        Ok(buffer[..length].strip_suffix(b"\n"))
    }

    /// Sends the answer (stage 02).
    ///
    /// # Errors
    /// `EPIPE` when the parent is gone.
    pub fn send_answer(&self, answer: &[u8]) -> io::Result<()> {
        send(&self.0, answer)
    }

    /// Waits for the next task (stage 03). This is where an idle worker sleeps. `None`: the
    /// parent is gone.
    ///
    /// # Errors
    /// `recvmsg(2)`, or a message that is no task.
    pub fn recv_task(&self) -> io::Result<Option<Task>> {
        match recv_fd(self.0.as_fd())? {
            None => Ok(None),
            Some((CONNECTION, Some(connection))) => Ok(Some(Task::Connection(connection))),
            Some((LEAVE, None)) => Ok(Some(Task::Leave)),
            // Better to end, and be replaced, than to report "done" for a task never received.
            Some((byte, descriptor)) => {
                let with = if descriptor.is_some() { "with" } else { "without" };
                let byte = char::from(byte);
                Err(io::Error::other(format!("no task: {byte:?} {with} a descriptor")))
            }
        }
    }

    /// Takes the next word of the parent (stage 09), without waiting.
    #[must_use]
    pub fn recv_word(&self) -> Word {
        let mut byte = [0];
        match recv(&self.0, &mut byte, MsgFlags::MSG_DONTWAIT) {
            Ok(1) if byte == ACCEPT => Word::Accept,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Word::Nothing,
            Ok(_) | Err(_) => Word::Gone,
        }
    }

    /// Reports that the connection is served and closed (stage 03).
    ///
    /// # Errors
    /// `EPIPE` when the parent is gone.
    pub fn send_done(&self) -> io::Result<()> {
        send(&self.0, DONE)
    }
}

fn send(socket: &OwnedFd, message: &[u8]) -> io::Result<()> {
    loop {
        // MSG_NOSIGNAL: a dead peer is an error to handle, not a SIGPIPE to die of.
        match socket::send(socket.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => return Ok(()), // SEQPACKET: all of it
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("send on the channel"),
        }
    }
}

fn recv(socket: &OwnedFd, buffer: &mut [u8], flags: MsgFlags) -> io::Result<usize> {
    loop {
        match socket::recv(socket.as_raw_fd(), buffer, flags) {
            Err(Errno::EINTR) => {}
            result => return result.context("recv on the channel"),
        }
    }
}

impl AsFd for ParentEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for WorkerEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// For messages whose form is defined elsewhere (stage 11), sent and taken without waiting.
impl ParentEnd {
    /// Fails with `EAGAIN` if there is no room for the message now.
    pub(crate) fn try_send(&self, message: &[u8]) -> io::Result<()> {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        loop {
            match socket::send(self.0.as_raw_fd(), message, flags) {
                Err(Errno::EINTR) => {}
                result => return result.context("send on the channel").map(drop),
            }
        }
    }

    /// Fails with `EAGAIN` if there is no message now. 0: the end of the channel.
    pub(crate) fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        recv(&self.0, buffer, MsgFlags::MSG_DONTWAIT)
    }

    /// Nothing more will be sent: for the worker this is the end of the channel. What it sends
    /// still arrives.
    ///
    /// # Errors
    /// `shutdown(2)`.
    pub fn end(&self) -> io::Result<()> {
        socket::shutdown(self.0.as_raw_fd(), Shutdown::Write).context("shutdown the channel")
    }
}

/// The same for the other end, which may wait until there is room.
impl WorkerEnd {
    pub(crate) fn send(&self, message: &[u8]) -> io::Result<()> {
        send(&self.0, message)
    }

    pub(crate) fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        recv(&self.0, buffer, MsgFlags::MSG_DONTWAIT)
    }
}

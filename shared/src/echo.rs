//! The client of the echo stages: sends lines, prints the answers.
//!
//! Purpose: talk to stages 02 and 03 from a terminal or a pipe; `nc` does as well.
//! Interface: [`echo`].
//! Rule: both directions at once. A client that only sends until it is done, and only then
//! reads, can wait for ever for a server that waits for its answers to be read.
//! First used by stage 02.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, MsgFlags, Shutdown};

use crate::cli::EchoArgs;
use crate::error::Context;
use crate::lines::MAX_LINE;
use crate::tcp;

/// One conversation with the server.
struct Echo {
    socket: OwnedFd,
    /// Where lines come from; `None` once there are no more.
    input: Option<Box<dyn Read>>,
    /// Taken from `input` and not sent yet.
    unsent: Vec<u8>,
    expected: Counter,
    /// Answers printed so far.
    answers: u64,
}

/// Sends the words of the command line as one line, or else every line of standard input.
/// Returns when the server has answered all and closed the connection.
///
/// # Errors
/// No connection; the server left before it had answered every line.
pub fn echo(args: &EchoArgs) -> io::Result<()> {
    let socket = tcp::connect(&args.address.host, args.address.port, args.address.patience())?;
    let text = args.text.join(" ") + "\n";
    let mut talk = Echo {
        socket,
        input: args.text.is_empty().then(|| Box::new(io::stdin()) as Box<dyn Read>),
        unsent: Vec::new(),
        expected: Counter::default(),
        answers: 0,
    };
    if !args.text.is_empty() {
        talk.take(text.as_bytes())?;
    }
    while talk.step()? {}
    let (answers, expected) = (talk.answers, talk.expected.pieces());
    if answers < expected || talk.input.is_some() {
        let text = if answers < expected {
            format!("connection closed after {answers} of {expected} answers")
        } else {
            "connection closed before the end of the input".to_owned()
        };
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
    }
    Ok(())
}

impl Echo {
    /// Waits for one of the three things that can happen. False at the end of the connection.
    fn step(&mut self) -> io::Result<bool> {
        let stdin = io::stdin();
        let mut interest = PollFlags::POLLIN;
        interest.set(PollFlags::POLLOUT, !self.unsent.is_empty());
        let mut fds = vec![PollFd::new(self.socket.as_fd(), interest)];
        if self.input.is_some() && self.unsent.is_empty() {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => return Ok(true),
            result => result.context("poll")?,
        };
        let happened = |index: usize, flags| {
            fds.get(index).and_then(PollFd::revents).is_some_and(|it| it.intersects(flags))
        };
        let answer = happened(0, PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR);
        let room = happened(0, PollFlags::POLLOUT);
        let typed = happened(1, PollFlags::all());
        if typed {
            self.read_input()?;
        }
        if room {
            self.send()?;
        }
        Ok(!answer || self.print_answers()?)
    }

    fn read_input(&mut self) -> io::Result<()> {
        let Some(input) = &mut self.input else {
            return Ok(());
        };
        let mut buffer = [0; MAX_LINE];
        let length = input.read(&mut buffer).context("read standard input")?;
        self.take(&buffer[..length])
    }

    /// Takes over what was typed; nothing at all means that this was the end.
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.expected.count(bytes);
        self.unsent.extend(bytes);
        if bytes.is_empty() {
            self.input = None;
        }
        self.end_if_all_is_sent()
    }

    fn send(&mut self) -> io::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match socket::send(self.socket.as_raw_fd(), &self.unsent, flags) {
            Ok(sent) => drop(self.unsent.drain(..sent)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // The server left. What it sent before that is still to be read, so go on.
            Err(Errno::EPIPE | Errno::ECONNRESET) => {
                self.unsent.clear();
                self.input = None;
            }
            Err(errno) => return Err(errno).context("send a line"),
        }
        self.end_if_all_is_sent()
    }

    /// Half-close: "that was all from me", while the answers still come.
    fn end_if_all_is_sent(&self) -> io::Result<()> {
        if self.input.is_none() && self.unsent.is_empty() {
            match socket::shutdown(self.socket.as_raw_fd(), Shutdown::Write) {
                Ok(()) | Err(Errno::ENOTCONN) => {}
                Err(errno) => return Err(errno).context("shutdown"),
            }
        }
        Ok(())
    }

    fn print_answers(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4 * MAX_LINE];
        let length = match socket::recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(0) | Err(Errno::ECONNRESET) => return Ok(false),
            Err(Errno::EINTR) => return Ok(true),
            result => result.context("recv")?,
        };
        let answers = &buffer[..length];
        self.answers += answers.iter().filter(|&&byte| byte == b'\n').count() as u64;
        let mut out = io::stdout().lock();
        out.write_all(answers).and_then(|()| out.flush()).context("write standard output")?;
        Ok(true)
    }
}

/// Counts how many answers the bytes sent so far deserve: one a line, more for a long one.
#[derive(Default)]
struct Counter {
    full: u64,
    /// Bytes of the present line.
    length: usize,
}

impl Counter {
    fn count(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.full += self.length.div_ceil(MAX_LINE).max(1) as u64;
                self.length = 0;
            } else {
                self.length += 1;
            }
        }
    }

    fn pieces(&self) -> u64 {
        self.full + self.length.div_ceil(MAX_LINE) as u64
    }
}

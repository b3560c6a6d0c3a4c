//! A client that talks in lines (stages 01 to 03).
//!
//! Every wait ends at the deadline with a message that says what was waited for.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use crate::tcp::read_some;
use crate::wait::LIMIT;

/// What a worker answers to a line: `PROCESS[PID 1234]: HELLO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The pid it names.
    pub pid: i32,
    /// What follows the blank after the colon, without the newline.
    pub text: Vec<u8>,
}

impl Answer {
    /// Reads a line in the form of an answer; `None` if it has another form.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"PROCESS[PID ")?;
        let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let pid = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        let text = rest[digits..].strip_prefix(b"]: ")?.to_vec();
        Some(Self { pid, text })
    }
}

/// A connection to a server.
pub struct LineClient {
    stream: TcpStream,
    received: Vec<u8>,
}

impl LineClient {
    /// Connects to a server.
    ///
    /// # Panics
    /// When nobody takes the connection.
    #[track_caller]
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(stream) => Self::new(stream),
            Err(error) => panic!("connect {address}: {error}"),
        }
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        Self { stream, received: Vec::new() }
    }

    /// The connection itself, for what this client can't do.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are, without adding a newline.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        if let Err(error) = self.stream.write_all(bytes) {
            panic!("send {} bytes: {error}", bytes.len());
        }
    }

    /// Sends bytes until all are sent, or nobody takes any more for `patience`. Returns how many
    /// were taken.
    #[track_caller]
    pub fn send_what_fits(&mut self, bytes: &[u8], patience: Duration) -> usize {
        self.stream.set_write_timeout(Some(patience)).unwrap();
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(length) => sent += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => break,
                Err(error) => panic!("send, after {sent} bytes: {error}"),
            }
        }
        self.stream.set_write_timeout(Some(LIMIT)).unwrap();
        sent
    }

    /// The next line, without its newline.
    ///
    /// # Panics
    /// When the connection ends before it is complete, or at the deadline.
    #[track_caller]
    pub fn read_line(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + LIMIT;
        let mut searched = 0;
        loop {
            let newline = self.received[searched..].iter().position(|&byte| byte == b'\n');
            if let Some(offset) = newline {
                let rest = self.received.split_off(searched + offset + 1);
                let mut line = std::mem::replace(&mut self.received, rest);
                line.pop();
                return line;
            }
            searched = self.received.len();
            match self.receive(deadline) {
                Ok(0) => panic!("the connection ended {}", self.instead_of("a line")),
                Ok(_) => {}
                Err(error) => panic!("{error} {}", self.instead_of("a line")),
            }
        }
    }

    /// The next line, which has to be an answer: `PROCESS[PID 1234]: HELLO`.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let line = self.read_line();
        match Answer::parse(&line) {
            Some(answer) => answer,
            None => {
                panic!("expected `PROCESS[PID n]: …`, got {:?}", String::from_utf8_lossy(&line))
            }
        }
    }

    /// Sends a line (the newline is added) and reads its answer.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> Answer {
        self.send(format!("{line}\n"));
        self.answer()
    }

    /// Says that nothing more will be sent. Answers can still be read.
    #[track_caller]
    pub fn half_close(&mut self) {
        if let Err(error) = self.stream.shutdown(Shutdown::Write) {
            panic!("shutdown: {error}");
        }
    }

    /// Everything up to the end of the connection.
    ///
    /// # Panics
    /// When the end hasn't come by the deadline, or comes with a reset.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.receive(deadline) {
                Ok(0) => return std::mem::take(&mut self.received),
                Ok(_) => {}
                Err(error) => panic!("{error} {}", self.instead_of("the end")),
            }
        }
    }

    /// Waits until the server's end of the connection is gone, orderly or by a reset. Returns
    /// what came before.
    #[track_caller]
    pub fn wait_closed(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.receive(deadline) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error} {}", self.instead_of("the end")),
            }
        }
        std::mem::take(&mut self.received)
    }

    /// Listens for `window` and panics if anything comes, the end included.
    #[track_caller]
    pub fn expect_silence(&mut self, window: Duration) {
        assert!(self.received.is_empty(), "something came {}", self.instead_of("silence"));
        match self.receive(Instant::now() + window) {
            Ok(0) => panic!("the connection ended instead of silence"),
            Ok(_) => panic!("something came {}", self.instead_of("silence")),
            Err(error) if is_timeout(&error) => {}
            Err(error) => panic!("{error} instead of silence"),
        }
    }

    /// Hangs up the hard way: the peer gets a reset (`SO_LINGER` of 0 seconds, `socket(7)`).
    #[track_caller]
    pub fn reset(self) {
        let at_once = linger { l_onoff: 1, l_linger: 0 };
        if let Err(error) = setsockopt(&self.stream, sockopt::Linger, &at_once) {
            panic!("setsockopt SO_LINGER: {error}");
        }
    }

    /// Receives once, at least a byte unless it returns 0 for the end.
    fn receive(&mut self, deadline: Instant) -> io::Result<usize> {
        let mut buffer = [0; 65536];
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        self.stream.set_read_timeout(Some(left))?;
        let length = read_some(&mut self.stream, &mut buffer)?;
        self.received.extend_from_slice(&buffer[..length]);
        Ok(length)
    }

    fn instead_of(&self, wanted: &str) -> String {
        let shown = &self.received[..self.received.len().min(200)];
        let (bytes, shown) = (self.received.len(), String::from_utf8_lossy(shown));
        format!("instead of {wanted}, after {bytes} unread bytes: {shown:?}")
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::Answer;

    #[test]
    fn an_answer_is_a_pid_and_a_text() {
        let answer = Answer::parse(b"PROCESS[PID 42]: A]: B").unwrap();
        assert_eq!((answer.pid, &answer.text[..]), (42, &b"A]: B"[..]));
        assert_eq!(Answer::parse(b"PROCESS[PID 42]: ").unwrap().text, b"");
    }

    #[test]
    fn what_only_looks_like_an_answer_is_none() {
        let lines = ["", "HELLO", "PROCESS[PID ]: A", "PROCESS[PID 42]:A", "process[pid 42]: A"];
        for line in lines {
            assert_eq!(Answer::parse(line.as_bytes()), None, "{line:?}");
        }
    }
}

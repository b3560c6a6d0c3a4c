//! A client, as a worker sees it: who has connected, and has to say what is to be run.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::Pid;
use shared::narrate::printable;
use shared::tcp;
use shared::transfer::drain;

use crate::job::Job;

/// The longest name that may be asked for, in bytes.
const MAX_NAME: usize = 1023;

/// Who has connected and is not served yet.
pub struct Visitor {
    socket: OwnedFd,
    received: Vec<u8>,
    /// Until when it has time.
    pub deadline: Instant,
    /// It has been told that nothing will come.
    refused: bool,
}

/// What is to become of a visitor.
pub enum Next {
    /// More may come.
    Wait,
    /// Its program, in the care of this process, answers from now on.
    Runs(Pid, String),
    /// It has been told why nothing will come, and may need a moment to read it.
    Refused(io::Error),
    /// All is said.
    Done,
}

impl Visitor {
    pub fn new(socket: OwnedFd, job: &Job) -> Self {
        let deadline = Instant::now() + job.stall_timeout;
        Self { socket, received: Vec::new(), deadline, refused: false }
    }

    /// Reads what it has sent, and runs the program it asks for.
    pub fn attend(&mut self, job: &Job) -> Next {
        if self.refused {
            return if drain(&self.socket) { Next::Wait } else { Next::Done };
        }
        let started = self.read_name().and_then(|name| {
            let Some(name) = name else { return Ok(None) };
            let keeper = job.directory.find(&name)?.start(&self.socket, job.time_limit)?;
            Ok(Some((keeper, printable(&name))))
        });
        match started {
            Ok(None) => Next::Wait,
            Ok(Some((keeper, name))) => Next::Runs(keeper, name),
            Err(error) => {
                self.refuse(&error);
                Next::Refused(error)
            }
        }
    }

    /// Reads until nothing is left, for no second event would come for what is there already.
    /// Returns the name without its `\r\n` once it is complete; what follows it doesn't matter.
    ///
    /// The call doesn't wait (`MSG_DONTWAIT`), but the connection itself stays a blocking one: the
    /// program that gets it as its standard output knows nothing of `EAGAIN`.
    fn read_name(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = [0; 1024];
        // LAB 09.read: read until the name is complete, or nothing is left, or it is too long
        loop {
            match tcp::try_recv(&self.socket, &mut buffer) {
                Ok(0) => return Err(io::Error::other("the request ended without \\r\\n")),
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
            let end = self.received.windows(2).position(|two| two == b"\r\n");
            // Without an end yet, all but a last `\r` belongs to the name.
            if end.unwrap_or(self.received.len() - 1) > MAX_NAME {
                return Err(io::Error::other(format!("more than {MAX_NAME} bytes in a name")));
            }
            if let Some(end) = end {
                return Ok(Some(self.received[..end].to_vec()));
            }
        }
        // END 09.read
    }

    /// Sends one line and says that this was all. Whoever still sends is listened to: closed now,
    /// the connection would be reset, and the line be lost.
    fn refuse(&mut self, why: &io::Error) {
        self.refused = true;
        let _ = tcp::try_send(&self.socket, format!("error: {why}\n").as_bytes());
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
    }

    /// Its time is over.
    pub fn give_up(&mut self, job: &Job) {
        if !self.refused {
            let seconds = job.stall_timeout.as_secs();
            self.refuse(&io::Error::other(format!("no \\r\\n within {seconds} s")));
        }
        drain(&self.socket);
    }
}

impl AsFd for Visitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

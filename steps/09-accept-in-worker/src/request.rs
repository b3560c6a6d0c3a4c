//! A client until its request is complete: one line that ends with `\r\n`, in any number of pieces.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::sys::socket::{Shutdown, shutdown};
use shared::tcp;
use shared::transfer::drain;

/// The longest name that may be asked for, in bytes.
pub const MAX_NAME: usize = 1023;

/// Who has connected and is not served yet.
pub struct Client {
    socket: OwnedFd,
    received: Vec<u8>,
    /// Until when it is waited for.
    pub deadline: Instant,
    refused: bool,
}

impl Client {
    pub fn new(socket: OwnedFd, deadline: Instant) -> Self {
        Self { socket, received: Vec::new(), deadline, refused: false }
    }

    /// The connection, for who is to write the answer.
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Has it been told that nothing will come?
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// Reads until nothing is left, for no second event would come for what is there already.
    /// Returns the name without its `\r\n` once it is complete; what follows it doesn't matter.
    ///
    /// The call doesn't wait (`MSG_DONTWAIT`), but the connection itself stays a blocking one: the
    /// program that gets it as standard output knows nothing of `EAGAIN`.
    pub fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = [0; 1024];
        loop {
            match tcp::try_recv(&self.socket, &mut buffer) {
                Ok(0) => return Err(io::Error::other("the request ended without \\r\\n")),
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
            let end = self.received.windows(2).position(|two| two == b"\r\n");
            if end.unwrap_or(self.received.len().saturating_sub(1)) > MAX_NAME {
                let text = format!("the request is longer than {MAX_NAME} bytes");
                return Err(io::Error::other(text));
            }
            if let Some(end) = end {
                return Ok(Some(self.received[..end].to_vec()));
            }
        }
    }

    /// Sends one line and says that this was all. The client may need a moment to read it: were
    /// the connection closed while more of its request comes in, it would be reset.
    pub fn refuse(&mut self, why: &io::Error) {
        self.refused = true;
        let _ = tcp::try_send(&self.socket, format!("error: {why}\n").as_bytes());
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
    }

    /// For one that is refused: drops what it sends. False once it is done.
    pub fn drain(&self) -> bool {
        drain(&self.socket)
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

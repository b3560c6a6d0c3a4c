//! What waits for a user until its connection takes it.
//!
//! The queue is what keeps the server from waiting: a send that would block is tried again when
//! `poll` says so. It consists of whole lines, of which the first may be sent in part.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use shared::chat::{MAX_SAID, QUEUE};
use shared::tcp;

/// Lines that wait.
#[derive(Default)]
pub struct Queue {
    bytes: VecDeque<u8>,
    /// The last byte that was sent is not the last of its line.
    in_a_line: bool,
}

impl Queue {
    /// Appends a line.
    pub fn push(&mut self, line: &[u8]) {
        self.bytes.extend(line);
    }

    /// Sends as much as the connection takes now. `EAGAIN` when that isn't everything.
    pub fn send(&mut self, connection: &OwnedFd) -> io::Result<()> {
        while !self.bytes.is_empty() {
            let (front, _) = self.bytes.as_slices();
            let sent = tcp::try_send(connection, front)?;
            self.in_a_line = front[..sent].last() != Some(&b'\n');
            self.bytes.drain(..sent);
        }
        Ok(())
    }

    /// Drops what waits, and appends `last_words`. A line that is sent in part stays whole: no
    /// other text may come in its middle.
    pub fn end_with(&mut self, last_words: &[u8]) {
        // LAB 10.end_with: keep the rest of a line that is sent in part, then the last words
        let end_of_line = self.bytes.iter().position(|&byte| byte == b'\n');
        let rest = end_of_line.filter(|_| self.in_a_line).map_or(0, |end| end + 1);
        self.bytes.truncate(rest);
        self.push(last_words);
        // END 10.end_with
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Is there no room for another line, however long?
    pub fn is_full(&self) -> bool {
        self.bytes.len() + MAX_SAID > QUEUE
    }

    /// Is half of it free?
    pub fn is_half_free(&self) -> bool {
        self.bytes.len() <= QUEUE / 2
    }
}

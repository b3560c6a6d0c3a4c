//! Lines in a stream of bytes, and the answer that the echo stages give to a line.
//!
//! Purpose: TCP has no lines; whoever wants lines collects bytes until a newline comes.
//! Interface: [`LineBuffer::fill`], then [`LineBuffer::line`] and [`LineBuffer::consume`] until
//! there is none; [`answer`].
//! Rule: bounded. A line longer than [`MAX_LINE`] bytes is handled in pieces of that length.
//! First used by stage 02.

use std::io;
use std::ops::DerefMut;

use nix::unistd::Pid;

/// The longest line, in bytes and without its newline.
pub const MAX_LINE: usize = 8192;

/// The longest answer, in bytes, newline included: see [`answer`].
pub const MAX_ANSWER: usize = MAX_LINE + 64;

/// Where a [`LineBuffer`] collects: room for the longest line and its newline.
pub type Room = [u8; MAX_LINE + 1];

/// Collects bytes and gives out lines. `B` is where the bytes are: on the heap, or in a place that
/// somebody else provides (stage 11).
pub struct LineBuffer<B = Box<Room>> {
    bytes: B,
    /// How many of `bytes` are in use.
    length: usize,
    /// The last piece ended without a newline, because it was full.
    cut: bool,
    /// The stream is at its end: nothing will complete the last line.
    ended: bool,
}

impl Default for LineBuffer {
    fn default() -> Self {
        Self::within(Box::new([0; MAX_LINE + 1]))
    }
}

impl<B: DerefMut<Target = Room>> LineBuffer<B> {
    /// Collects bytes there.
    pub fn within(bytes: B) -> Self {
        Self { bytes, length: 0, cut: false, ended: false }
    }

    /// Lets `read` put more bytes in. Call it only when [`LineBuffer::line`] is `None`; then
    /// there is room. A `read` of 0 bytes means that the stream is at its end.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<()> {
        let length = read(&mut self.bytes[self.length..])?;
        self.ended = length == 0;
        self.length += length;
        // A newline right after a full piece ends that line; it isn't an empty line of its own.
        if self.cut && self.length > 0 {
            self.cut = false;
            if self.bytes[0] == b'\n' {
                self.remove(1);
            }
        }
        Ok(())
    }

    /// The first line, without its newline: a complete one, a full piece of a longer one, or
    /// what is left at the end of the stream.
    #[must_use]
    pub fn line(&self) -> Option<&[u8]> {
        let bytes = &self.bytes[..self.length];
        let newline = bytes.iter().position(|&byte| byte == b'\n');
        let full = bytes.len() >= MAX_LINE || (self.ended && !bytes.is_empty());
        match newline {
            Some(end) => Some(&bytes[..end]),
            None if full => Some(&bytes[..bytes.len().min(MAX_LINE)]),
            None => None,
        }
    }

    /// Drops the first line.
    pub fn consume(&mut self) {
        let Some(length) = self.line().map(<[u8]>::len) else {
            return;
        };
        let newline = length < self.length && self.bytes[length] == b'\n';
        self.remove(length + usize::from(newline));
        self.cut = length == MAX_LINE && !newline;
        if self.cut && self.length > 0 {
            self.cut = false; // more of this line is here already, and it is no newline
        }
    }

    /// True when the stream is at its end and every line has been consumed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.ended && self.length == 0
    }

    fn remove(&mut self, count: usize) {
        self.bytes.copy_within(count..self.length, 0);
        self.length -= count;
    }
}

/// What a worker answers to a line: its pid and the line in upper case. Bytes that aren't ASCII
/// letters stay as they are.
#[must_use]
pub fn answer(worker: Pid, line: &[u8]) -> Vec<u8> {
    let mut answer = format!("PROCESS[PID {worker}]: ").into_bytes();
    answer.extend(line.to_ascii_uppercase());
    answer.push(b'\n');
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in steps of `step` bytes and returns all lines.
    fn lines(input: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut buffer = LineBuffer::default();
        let mut rest = input;
        let mut lines = Vec::new();
        while !buffer.is_finished() {
            while let Some(line) = buffer.line() {
                lines.push(line.to_vec());
                buffer.consume();
            }
            let fed = buffer.fill(|room| {
                let count = step.min(room.len()).min(rest.len());
                room[..count].copy_from_slice(&rest[..count]);
                rest = &rest[count..];
                Ok(count)
            });
            assert!(fed.is_ok());
        }
        lines
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive() {
        let long = [b"a".repeat(MAX_LINE), b"\n".to_vec(), b"b".repeat(2 * MAX_LINE + 5)].concat();
        let input = [b"one\n\ntwo\n".as_slice(), &long, b"\nlast"].concat();
        let expected = [
            b"one".to_vec(),
            Vec::new(),
            b"two".to_vec(),
            b"a".repeat(MAX_LINE),
            b"b".repeat(MAX_LINE),
            b"b".repeat(MAX_LINE),
            b"bbbbb".to_vec(),
            b"last".to_vec(),
        ];
        for step in [1, 2, 3, 100, MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, input.len()] {
            assert_eq!(lines(&input, step), expected, "in steps of {step}");
        }
    }
}

//! The chunks of stages 04 and 05: `[u64 len][len bytes]` in a row, and a length of 0 at the end.
//!
//! Purpose: cut a file into chunks, and put what arrives together again.
//! Interface: the server fills a [`Batch`] and sends it, again and again; the client feeds
//! [`Chunks`] with whatever it has received.
//! Rules: many chunks cost one system call, on either side. A chunk's length is believed only
//! after it was compared with [`MAX_CHUNK`].
//! First used by stage 04.

use std::fs::File;
use std::io::{self, ErrorKind, IoSliceMut, Read};

use crate::protocol::{LENGTH, ProtocolError};
use crate::transfer::Connection;

/// The payload of a chunk that we send, in bytes; the last one may have less.
pub const CHUNK: usize = 8192;
/// The longest chunk that we accept, in bytes.
pub const MAX_CHUNK: u64 = 1 << 20;
/// A chunk of no bytes: the end of the file.
const END: [u8; LENGTH] = 0_u64.to_le_bytes();

/// Some chunks of a file, laid out as the wire wants them: `[u64 len][len bytes]` in a row.
///
/// The file is read straight into the gaps between the lengths, so many chunks cost one read,
/// one send and no copying about.
pub struct Batch {
    buffer: Vec<u8>,
    length: usize,
}

impl Batch {
    /// How many chunks a batch holds at most.
    const CHUNKS: usize = 32;
    /// How many bytes of a file a batch holds at most.
    pub const PAYLOAD: usize = Self::CHUNKS * CHUNK;

    /// Makes an empty one. Use it again and again.
    #[must_use]
    pub fn new() -> Self {
        Self { buffer: vec![0; Self::CHUNKS * (LENGTH + CHUNK) + END.len()], length: 0 }
    }

    /// Starts over with the next bytes of `file`, at most `limit`. Returns how many: fewer than
    /// both `limit` and [`Batch::PAYLOAD`] only at the end of the file.
    ///
    /// # Errors
    /// `readv(2)`.
    pub fn fill(&mut self, file: &mut File, limit: u64) -> io::Result<usize> {
        let want = usize::try_from(limit).unwrap_or(usize::MAX).min(Self::PAYLOAD);
        let mut room = want;
        let mut gaps = Vec::with_capacity(Self::CHUNKS);
        for chunk in self.buffer.chunks_exact_mut(LENGTH + CHUNK) {
            let size = room.min(CHUNK);
            gaps.push(IoSliceMut::new(&mut chunk[LENGTH..LENGTH + size]));
            room -= size;
        }
        let payload = read_until_full(file, &mut gaps)?;
        self.number_chunks(payload);
        Ok(payload)
    }

    /// Writes the length in front of each chunk.
    fn number_chunks(&mut self, payload: usize) {
        self.length = 0;
        let mut rest = payload;
        while rest > 0 {
            let size = rest.min(CHUNK);
            self.put(&(size as u64).to_le_bytes());
            self.length += size;
            rest -= size;
        }
    }

    /// Sends what [`Batch::fill`] has put in; after the last of a file, the end mark with it.
    ///
    /// # Errors
    /// Those of [`Connection::send_all`].
    pub fn send(&mut self, connection: &mut Connection, last: bool) -> io::Result<()> {
        if last {
            self.put(&END);
            return connection.send_all(&self.buffer[..self.length]);
        }
        connection.send_more(&self.buffer[..self.length])
    }

    fn put(&mut self, length: &[u8; LENGTH]) {
        self.buffer[self.length..self.length + LENGTH].copy_from_slice(length);
        self.length += LENGTH;
    }
}

/// Fills `gaps` from their beginning. One `readv(2)` is enough for most files; but a read may give
/// less before the end of the file, and only a read of 0 bytes is the end.
fn read_until_full(file: &mut File, mut gaps: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    let mut total = 0;
    IoSliceMut::advance_slices(&mut gaps, 0); // skips what is empty
    while !gaps.is_empty() {
        match file.read_vectored(gaps) {
            Ok(0) => break,
            Ok(length) => {
                total += length;
                IoSliceMut::advance_slices(&mut gaps, length);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes chunks apart, however the stream was cut on its way.
#[derive(Default)]
pub struct Chunks {
    /// The length of the next chunk, as far as it has come.
    length: [u8; LENGTH],
    have: usize,
    /// Bytes that the present chunk still lacks.
    left: u64,
    ended: bool,
}

impl Chunks {
    /// Takes a piece of the file off the front of `input`. `None`: all of `input` is used up, or
    /// the end mark has come.
    ///
    /// # Errors
    /// A chunk longer than [`MAX_CHUNK`].
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, ProtocolError> {
        while !input.is_empty() && !self.ended {
            if self.left > 0 {
                let size = usize::try_from(self.left).map_or(input.len(), |it| it.min(input.len()));
                let (piece, rest) = input.split_at(size);
                *input = rest;
                self.left -= size as u64;
                return Ok(Some(piece));
            }
            self.take_length(input)?;
        }
        Ok(None)
    }

    /// Takes what there is of a length; once it is whole, a chunk (or the end) begins.
    fn take_length(&mut self, input: &mut &[u8]) -> Result<(), ProtocolError> {
        // LAB 04.take_length: collect a length however it is cut, check it, begin what it announces
        let size = input.len().min(LENGTH - self.have);
        let (bytes, rest) = input.split_at(size);
        *input = rest;
        self.length[self.have..self.have + size].copy_from_slice(bytes);
        self.have += size;
        if self.have == LENGTH {
            let length = u64::from_le_bytes(self.length);
            if length > MAX_CHUNK {
                return Err(ProtocolError::ChunkLength(length));
            }
            *self = Self { left: length, ended: length == 0, ..Self::default() };
        }
        Ok(())
        // END 04.take_length
    }

    /// The end mark has come.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::record;

    #[test]
    fn chunks_are_the_same_however_the_stream_was_cut() {
        let file = b"abcdefghij".repeat(50);
        let stream =
            [record(&file[..7]), record(&file[7..450]), record(&file[450..]), END.to_vec()]
                .concat();
        for cut in 1..stream.len() {
            let mut chunks = Chunks::default();
            let mut received = Vec::<u8>::new();
            for mut part in stream.chunks(cut) {
                while let Ok(Some(piece)) = chunks.next(&mut part) {
                    received.extend(piece);
                }
            }
            assert!(chunks.ended() && received == file, "cut every {cut} bytes");
        }
    }

    #[test]
    fn a_chunk_over_the_limit_is_refused() {
        let accepted = MAX_CHUNK.to_le_bytes();
        assert!(Chunks::default().next(&mut accepted.as_slice()).is_ok());
        for length in [MAX_CHUNK + 1, u64::MAX] {
            let refused = length.to_le_bytes();
            assert!(Chunks::default().next(&mut refused.as_slice()).is_err());
        }
    }
}

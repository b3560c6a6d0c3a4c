//! What travels on the wire from stage 04 on.
//!
//! Purpose: encode and decode; everything that comes from the network is checked here, before
//! anything is allocated or opened.
//! Interface: records (`[u64 n][n bytes]`) with [`record`], [`recv_name`], [`recv_size`], and the
//! [`Header`] of stages 06 on. The chunks of stages 04 and 05 are in [`chunks`](crate::chunks).
//! Rules: every number is 64 bits, little-endian, as the notes' own C programs send it on
//! x86-64. A length is believed only after it was compared with its limit.
//! First used by stage 04.

use std::fmt;
use std::io;

use crate::chunks::MAX_CHUNK;
use crate::transfer::Connection;

/// The longest file name, in bytes (`NAME_MAX`).
pub const MAX_NAME: usize = 255;
/// The length in front of every record and chunk, in bytes.
pub const LENGTH: usize = 8;

/// What can be wrong with what a stranger sent.
#[derive(Debug)]
pub enum ProtocolError {
    /// The stream ended early: so many bytes came, so many were to come.
    Closed(u64, u64),
    /// The same, before the first byte of the file.
    ClosedInHeader(u64, u64),
    /// The stream of chunks ended after so many bytes without its end mark.
    NoEnd(u64),
    /// A name of this length.
    NameLength(u64),
    /// A size record of this length.
    SizeLength(u64),
    /// A size below 0.
    NegativeSize(i64),
    /// A chunk of this length.
    ChunkLength(u64),
    /// The chunks add up to so many bytes, the announced size was another.
    WrongSize(u64, u64),
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(got, of) => write!(f, "connection closed after {got} of {of} bytes"),
            Self::ClosedInHeader(got, of) => {
                write!(f, "connection closed after {got} of {of} bytes of the header")
            }
            Self::NoEnd(got) => {
                write!(f, "connection closed after {got} bytes, before the end of the file")
            }
            Self::NameLength(length) => {
                write!(f, "the server sent a name of {length} bytes (1 to {MAX_NAME} are allowed)")
            }
            Self::SizeLength(length) => {
                write!(f, "the server sent a size of {length} bytes ({LENGTH} are expected)")
            }
            Self::NegativeSize(size) => write!(f, "the server announced {size} bytes"),
            Self::ChunkLength(length) => {
                write!(
                    f,
                    "the server sent a chunk of {length} bytes (up to {MAX_CHUNK} are allowed)"
                )
            }
            Self::WrongSize(got, of) => {
                write!(f, "the server announced {of} bytes and sent {got}")
            }
        }
    }
}

impl std::error::Error for ProtocolError {}

impl From<ProtocolError> for io::Error {
    fn from(error: ProtocolError) -> Self {
        let kind = match error {
            ProtocolError::Closed(..)
            | ProtocolError::ClosedInHeader(..)
            | ProtocolError::NoEnd(_) => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// Encodes a record: `[u64 n][n bytes]`.
#[must_use]
pub fn record(bytes: &[u8]) -> Vec<u8> {
    [(bytes.len() as u64).to_le_bytes().as_slice(), bytes].concat()
}

/// Receives the record that holds the file's name. The name itself is checked by
/// [`Download::create`](crate::download::Download::create).
///
/// # Errors
/// A length outside 1 ..= [`MAX_NAME`]; an early end.
pub fn recv_name(connection: &mut Connection) -> io::Result<Vec<u8>> {
    let length = u64::from_le_bytes(recv_array(connection)?);
    recv_name_bytes(connection, length)
}

/// Receives the record that holds the file's size (stage 05).
///
/// # Errors
/// A record that isn't 8 bytes long; a size below 0; an early end.
pub fn recv_size(connection: &mut Connection) -> io::Result<u64> {
    let length = u64::from_le_bytes(recv_array(connection)?);
    // LAB 05.recv_size: receive the record of the size: 8 bytes that hold a number from 0 up
    if length != LENGTH as u64 {
        return Err(ProtocolError::SizeLength(length).into());
    }
    Ok(checked_size(i64::from_le_bytes(recv_array(connection)?))?)
    // END 05.recv_size
}

fn recv_name_bytes(connection: &mut Connection, length: u64) -> io::Result<Vec<u8>> {
    let fits = usize::try_from(length).ok().filter(|length| (1..=MAX_NAME).contains(length));
    let mut name = vec![0; fits.ok_or(ProtocolError::NameLength(length))?];
    recv_all(connection, &mut name)?;
    Ok(name)
}

fn recv_array<const N: usize>(connection: &mut Connection) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    recv_all(connection, &mut bytes)?;
    Ok(bytes)
}

/// Fills `buffer`, to the last byte.
fn recv_all(connection: &mut Connection, buffer: &mut [u8]) -> io::Result<()> {
    let received = connection.recv_exact(buffer)?;
    if received < buffer.len() {
        return Err(ProtocolError::ClosedInHeader(received as u64, buffer.len() as u64).into());
    }
    Ok(())
}

fn checked_size(size: i64) -> Result<u64, ProtocolError> {
    u64::try_from(size).map_err(|_| ProtocolError::NegativeSize(size))
}

/// What a sender says when the file turns out to have fewer bytes than it announced.
#[must_use]
pub fn shrank() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file shrank while it was being sent")
}

/// The header of stages 06 on: `[u64 name_len][i64 size][name]`, then the file's bytes follow.
#[derive(Debug, PartialEq, Eq)]
pub struct Header {
    /// The file's size in bytes, up to `i64::MAX`.
    pub size: u64,
    /// Its name, 1 to 255 bytes, not checked in any other way yet.
    pub name: Vec<u8>,
}

impl Header {
    /// The header as it is sent, in one piece.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let length = (self.name.len() as u64).to_le_bytes();
        [&length, &self.size.to_le_bytes(), self.name.as_slice()].concat()
    }

    /// Receives a header and not a byte more: what follows isn't ours to read.
    ///
    /// # Errors
    /// A name length outside 1 ..= [`MAX_NAME`]; a size below 0; an early end.
    pub fn recv(connection: &mut Connection) -> io::Result<Self> {
        // LAB 06.header: receive both numbers and the name, each checked before it is used
        let fixed: [u8; 2 * LENGTH] = recv_array(connection)?;
        let (length, size) = fixed.split_at(LENGTH);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b));
        let size = checked_size(number(size).cast_signed())?;
        let name = recv_name_bytes(connection, number(length))?;
        Ok(Self { size, name })
        // END 06.header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_the_bytes_of_the_notes() {
        let header = Header { size: 258, name: b"ab".to_vec() };
        assert_eq!(header.encode(), b"\x02\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0ab");
    }
}

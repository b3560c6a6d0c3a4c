//! The wire formats of stages 04 to 08, and a client that speaks them byte by byte.
//!
//! They are written here a second time, on purpose: a test that used the program's own encoder
//! would agree with its mistakes. The client can be well-behaved, slow, impolite, or gone.
//!
//! Interface: [`Format`] encodes, [`RawClient`] downloads. [`crate::fake_server`] is the other side.

use std::fmt;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};

use crate::grading::report;
use crate::tcp::read_some;
use crate::wait::limit;

/// A server sends no chunk longer than this (stages 04 and 05).
pub const LONGEST_SENT_CHUNK: u64 = 8192;

/// A client takes no chunk longer than this.
pub const LONGEST_TAKEN_CHUNK: u64 = 1 << 20;

/// The empty chunk that ends a file (stages 04 and 05).
pub const END_MARK: [u8; 8] = [0; 8];

/// How a stage puts a file on the wire. Every number is 64 bits, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Stage 04: `[name_len][name]`, chunks, end mark.
    Chunks,
    /// Stage 05: `[name_len][name]`, the size as a chunk `[8][size]`, chunks, end mark.
    SizeAndChunks,
    /// Stages 06 to 08: `[name_len][size][name]`, then the bytes of the file as they are.
    Header,
}

impl Format {
    /// What comes before the first byte of the file; [`Format::Chunks`] doesn't tell the size.
    pub fn header(self, name: &[u8], size: i64) -> Vec<u8> {
        self.header_that_claims(name.len() as u64, name, size)
    }

    /// The same with any name length, true or not.
    pub fn header_that_claims(self, name_len: u64, name: &[u8], size: i64) -> Vec<u8> {
        let (name_len, size) = (name_len.to_le_bytes(), size.to_le_bytes());
        match self {
            Self::Chunks => [&name_len[..], name].concat(),
            Self::SizeAndChunks => [&name_len[..], name, &chunk(&size)].concat(),
            Self::Header => [&name_len[..], &size[..], name].concat(),
        }
    }

    /// `contents` as they follow the header.
    pub fn payload(self, contents: &[u8]) -> Vec<u8> {
        match self {
            Self::Chunks | Self::SizeAndChunks => {
                let mut bytes: Vec<u8> = contents.chunks(8192).flat_map(chunk).collect();
                bytes.extend(END_MARK);
                bytes
            }
            Self::Header => contents.to_vec(),
        }
    }

    /// A whole transfer, as a right server sends it.
    pub fn stream(self, name: &[u8], contents: &[u8]) -> Vec<u8> {
        [self.header(name, contents.len() as i64), self.payload(contents)].concat()
    }
}

/// `[u64 len][bytes]`.
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat()
}

/// Bytes as a message should show them: `\x03\x00abc`.
#[derive(PartialEq, Eq)]
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes: {}", self.0.len(), self.0.escape_ascii())
    }
}

/// All that came over the wire is what had to come. `who` got it: `the client of a file of 3 bytes`.
#[track_caller]
pub fn assert_stream(came: &[u8], expected: &[u8], who: &str) {
    if came == expected {
        return;
    }
    let same = came.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let next = |bytes: &[u8]| match &bytes[same..] {
        [] => "the end".to_owned(),
        rest => format!("{:02x?}", &rest[..rest.len().min(16)]),
    };
    let (got, had_to) = (came.len(), expected.len());
    panic!(
        "{who} got {got} bytes, and {had_to} had to come; after byte {same} there came\n{}\nand not\n{}",
        next(came),
        next(expected),
    );
}

/// What a server says before the first byte of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name of the file, as sent.
    pub name: Vec<u8>,
    /// The size announced; stage 04 announces none.
    pub size: Option<i64>,
}

/// A transfer that came whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Transfer {
    /// What came first.
    pub header: Header,
    /// The length of every chunk (stages 04 and 05), without the end mark.
    pub chunks: Vec<u64>,
    /// How many bytes of the file came.
    pub received: u64,
}

impl fmt::Debug for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, chunks) = (self.header.name.escape_ascii(), self.chunks.len());
        write!(f, "{} bytes of {name} in {chunks} chunks", self.received)?;
        self.header.size.map_or(Ok(()), |size| write!(f, ", {size} bytes were announced"))
    }
}

/// A client that can be slow, impolite, or gone.
///
/// Dropping it closes the connection. No read or write waits longer than [`limit`].
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    format: Format,
}

impl RawClient {
    /// Connects to a server whose stage speaks `format`.
    #[track_caller]
    pub fn connect(address: SocketAddr, format: Format) -> Self {
        let stream = TcpStream::connect(address).expect("connect to the server");
        stream.set_read_timeout(Some(limit())).unwrap();
        stream.set_write_timeout(Some(limit())).unwrap();
        Self { stream, format }
    }

    /// Takes exactly `count` bytes off the wire, whatever they mean.
    #[track_caller]
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        match read_exactly(&mut self.stream, &mut bytes, "the first bytes") {
            Ok(()) => bytes,
            Err(broken) => fail(&format!("of the first {count} bytes not all came: {broken}")),
        }
    }

    /// Takes `count` bytes off the wire without looking at them: the kernel throws them away
    /// (`MSG_TRUNC`, see `tcp(7)`), many times faster than anybody could read them.
    #[track_caller]
    pub fn discard(&mut self, count: u64) {
        let mut buffer = vec![0; 1 << 20]; // says how much at most; nothing is written to it
        let mut left = count;
        while left > 0 {
            let room = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            let flags = MsgFlags::MSG_TRUNC;
            match recv(self.stream.as_raw_fd(), &mut buffer[..room], flags) {
                Ok(0) => panic!("the connection ended with {left} of {count} bytes missing"),
                Ok(length) => left -= length as u64,
                Err(Errno::EINTR) => {}
                Err(error) => panic!("recv, with {left} of {count} bytes missing: {error}"),
            }
        }
    }

    /// Does anything come within this time? Nothing is taken off the wire.
    #[must_use]
    pub fn hears_something_within(&self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let heard = self.stream.peek(&mut [0]).is_ok();
        self.stream.set_read_timeout(Some(limit())).unwrap();
        heard
    }

    /// Sends something to the server, which expects nothing.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("send to the server");
    }

    /// Says that nothing more will come from here. The transfer goes on.
    #[track_caller]
    pub fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("shutdown");
    }

    /// Says that nothing more will come from here, then closes with unread bytes: whoever sends to
    /// such a client gets `EPIPE` (and unless it takes care, SIGPIPE) for certain.
    pub fn hang_up(self) {
        // An error means that the server was faster, which is all right.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the connection with a reset, as a client does that crashed.
    pub fn reset(self) {
        reset_when_closed(&self.stream);
    }

    /// Takes the header and nothing more: the server goes on until the kernel's buffers are full.
    #[track_caller]
    pub fn header(&mut self) -> Header {
        match read_header(&mut self.stream, self.format) {
            Ok(header) => header,
            Err(broken) => fail(&format!("no header came: {broken}")),
        }
    }

    /// Downloads the whole file into memory. The stream must be well formed up to its very end.
    #[track_caller]
    pub fn download(mut self) -> (Transfer, Vec<u8>) {
        let header = self.header();
        let mut contents = Vec::new();
        let transfer = self.rest(header, |piece| contents.extend_from_slice(piece));
        (whole(transfer), contents)
    }

    /// Takes all bytes up to the end of the stream, whatever they mean.
    #[track_caller]
    #[must_use]
    pub fn everything(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => bytes,
            Err(error) => {
                let broken = explained(&error, "the end");
                fail(&format!("after {} bytes: {broken}", bytes.len()))
            }
        }
    }

    /// Goes on after [`RawClient::header`]: hands each piece of the file to `piece`, or tells how
    /// the stream broke off.
    pub fn rest(self, header: Header, mut piece: impl FnMut(&[u8])) -> Result<Transfer, String> {
        let mut stream = BufReader::with_capacity(256 << 10, self.stream);
        let mut transfer = Transfer { header, chunks: Vec::new(), received: 0 };
        let payload = match self.format {
            Format::Chunks | Format::SizeAndChunks => {
                read_chunks(&mut stream, &mut transfer, &mut piece)
            }
            Format::Header => read_plain(&mut stream, &mut transfer, &mut piece),
        };
        payload.map_err(|broken| {
            format!("the transfer stopped after {} bytes of the file: {broken}", transfer.received)
        })?;
        match read_some(&mut stream, &mut [0]) {
            Ok(0) => Ok(transfer),
            Ok(_) => Err("there are bytes after the end of the file".to_owned()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(format!(
                "{WAITED} for {:?} after the end of the file, not even the end",
                limit()
            )),
            Err(error) => Err(format!("after the end of the file: {error}")),
        }
    }
}

/// Takes chunks up to the end mark.
fn read_chunks(
    stream: &mut impl Read,
    transfer: &mut Transfer,
    piece: &mut impl FnMut(&[u8]),
) -> Result<(), String> {
    let mut buffer = vec![0; LONGEST_TAKEN_CHUNK as usize];
    loop {
        let len = read_u64(stream, "the length of a chunk")?;
        if len == 0 {
            return Ok(());
        }
        let Some(chunk) = buffer.get_mut(..len as usize) else {
            return Err(format!("a chunk of {len} bytes"));
        };
        read_exactly(stream, chunk, "a chunk")?;
        piece(chunk);
        transfer.chunks.push(len);
        transfer.received += len;
    }
}

/// Takes as many bytes as the header announced.
fn read_plain(
    stream: &mut impl Read,
    transfer: &mut Transfer,
    piece: &mut impl FnMut(&[u8]),
) -> Result<(), String> {
    let size = transfer.header.size.map_or(0, i64::cast_unsigned);
    let mut buffer = vec![0; 256 << 10];
    while transfer.received < size {
        let room = (buffer.len() as u64).min(size - transfer.received) as usize;
        match read_some(stream, &mut buffer[..room]) {
            Ok(0) => return Err(format!("closed before the announced {size}")),
            Ok(count) => {
                piece(&buffer[..count]);
                transfer.received += count as u64;
            }
            Err(error) => return Err(explained(&error, "the rest of the file")),
        }
    }
    Ok(())
}

fn read_header(stream: &mut impl Read, format: Format) -> Result<Header, String> {
    let name_len = read_u64(stream, "the length of the name")?;
    if !(1..=255).contains(&name_len) {
        return Err(format!("a name of {name_len} bytes"));
    }
    let mut name = vec![0; name_len as usize];
    if format == Format::Header {
        let size = read_u64(stream, "the size")?.cast_signed();
        read_exactly(stream, &mut name, "the name")?;
        return Ok(Header { name, size: Some(size) });
    }
    read_exactly(stream, &mut name, "the name")?;
    if format == Format::Chunks {
        return Ok(Header { name, size: None });
    }
    match read_u64(stream, "the length of the size")? {
        8 => Ok(Header { name, size: Some(read_u64(stream, "the size")?.cast_signed()) }),
        other => Err(format!("a size record of {other} bytes")),
    }
}

fn read_u64(stream: &mut impl Read, what: &str) -> Result<u64, String> {
    let mut bytes = [0; 8];
    read_exactly(stream, &mut bytes, what)?;
    Ok(u64::from_le_bytes(bytes))
}

fn read_exactly(stream: &mut impl Read, bytes: &mut [u8], what: &str) -> Result<(), String> {
    stream.read_exact(bytes).map_err(|error| explained(&error, what))
}

fn explained(error: &io::Error, what: &str) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => format!("the connection was closed where {what} should be"),
        ErrorKind::WouldBlock => format!("{WAITED} for {:?} where {what} should be", limit()),
        _ => format!("{error}, where {what} should be"),
    }
}

const WAITED: &str = "nothing came";

/// The transfer has to have come whole.
#[track_caller]
pub fn whole(outcome: Result<Transfer, String>) -> Transfer {
    match outcome {
        Ok(transfer) => transfer,
        Err(broken) => fail(&broken),
    }
}

/// The transfer has to have ended early, and not to hang; `why` says what had happened to it.
#[track_caller]
pub fn broken_off(outcome: Result<Transfer, String>, why: &str) {
    match outcome {
        Ok(transfer) => panic!("{why}, and a client got all of the {} bytes", transfer.received),
        Err(broken) if broken.contains(WAITED) => {
            fail(&format!("{why}, and the connection stays open: {broken}"))
        }
        Err(_) => {}
    }
}

#[track_caller]
fn fail(broken: &str) -> ! {
    if broken.contains(WAITED) {
        report("timeout", &limit().as_secs().to_string());
    }
    panic!("{broken}");
}

/// Lets the next close of `stream` throw away what is under way and send a reset.
pub(crate) fn reset_when_closed(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(stream, sockopt::Linger, &linger).expect("setsockopt SO_LINGER");
}

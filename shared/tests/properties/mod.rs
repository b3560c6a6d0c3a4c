//! What every decoder has to do with any bytes at all: each function here panics if it doesn't.
//!
//! The expectation is written a second time, in the simplest way there is: all of the input at
//! once, nothing saved, no system calls. Two things feed these functions: `decoders.rs` with
//! inputs that it draws itself and with those that are kept in `tests/fuzz/corpus`, and the
//! targets in `tests/fuzz` with inputs that libFuzzer finds by watching which code they reach.

use std::fs;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use shared::channel::{self, Answer, Report, Task};
use shared::chat::{Heard, MAX_SAID, Speaker};
use shared::chunks::{Chunks, MAX_CHUNK};
use shared::download::Download;
use shared::lines::{LineBuffer, MAX_ANSWER, MAX_LINE};
use shared::narrate::printable;
use shared::protocol::{Header, recv_name, recv_size};
use shared::transfer::Connection;

/// Splits `bytes` as the network might: into pieces of the lengths in `cuts`, over and over.
pub fn pieces<'a>(mut bytes: &'a [u8], cuts: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = cuts.iter().map(|&cut| usize::from(cut).max(1)).cycle();
    std::iter::from_fn(move || {
        let length = lengths.next().unwrap_or(usize::MAX).min(bytes.len());
        let (piece, rest) = bytes.split_at(length);
        bytes = rest;
        (length > 0).then_some(piece)
    })
}

/// How a stream of chunks goes on.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Something is still to come.
    Open,
    /// Ended by its mark, with so many bytes behind it.
    Mark(usize),
    /// The length of a chunk is over the limit.
    Refused,
}

/// Chunks: however the stream was cut, the same bytes of the file come out and the same end.
pub fn chunks(stream: &[u8], cuts: &[u8]) {
    let mut chunks = Chunks::default();
    let mut file = Vec::new();
    let mut end = End::Open;
    let mut seen = 0;
    for mut piece in pieces(stream, cuts) {
        seen += piece.len();
        let refused = loop {
            match chunks.next(&mut piece) {
                Ok(Some([])) => panic!("a piece without a byte"),
                Ok(Some(bytes)) => file.extend_from_slice(bytes),
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        if refused || chunks.ended() {
            let behind = stream.len() - seen + piece.len();
            end = if refused { End::Refused } else { End::Mark(behind) };
            break;
        }
        assert!(piece.is_empty(), "some of the input is left, and it isn't the end");
    }
    assert_eq!((file, end), chunks_at_once(stream));
}

fn chunks_at_once(mut stream: &[u8]) -> (Vec<u8>, End) {
    let mut file = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk() {
        let end = match u64::from_le_bytes(*length) {
            0 => End::Mark(rest.len()),
            length if length > MAX_CHUNK => End::Refused,
            length => {
                let (bytes, rest) = rest.split_at(rest.len().min(length as usize));
                file.extend_from_slice(bytes);
                stream = rest;
                continue;
            }
        };
        return (file, end);
    }
    (file, End::Open)
}

/// Has `decode` read what a peer sends who sends `stream` and hangs up. Returns what it made of
/// it, if it took it, and what it has left unread.
pub fn received<T>(
    stream: &[u8],
    decode: impl FnOnce(&mut Connection) -> std::io::Result<T>,
) -> Option<(T, Vec<u8>)> {
    let (mut peer, ours) = UnixStream::pair().unwrap();
    peer.write_all(stream).unwrap(); // a few KiB at most: the kernel takes them all
    drop(peer);
    let mut rest = ours.try_clone().unwrap();
    let mut connection = Connection::new(OwnedFd::from(ours), Duration::from_secs(30)).unwrap();
    match decode(&mut connection) {
        Ok(value) => {
            let mut unread = Vec::new();
            rest.read_to_end(&mut unread).unwrap();
            Some((value, unread))
        }
        Err(error) => {
            assert_one_clean_line(&error.to_string());
            let expected = [ErrorKind::UnexpectedEof, ErrorKind::InvalidData];
            assert!(expected.contains(&error.kind()), "{error:?}");
            None
        }
    }
}

/// The name and the size of stages 04 and 05: the right ones are taken, to the byte.
pub fn records(stream: &[u8]) {
    let name = name_at_once(stream);
    assert_eq!(received(stream, recv_name), name, "name");
    let size = number_at_once(stream).filter(|&(length, _)| length == 8);
    let size = size.and_then(|(_, rest)| number_at_once(rest));
    let size = size.filter(|&(size, _)| size <= i64::MAX as u64);
    assert_eq!(received(stream, recv_size), size.map(|(it, rest)| (it, rest.to_vec())), "size");
}

fn number_at_once(stream: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = stream.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

fn name_at_once(stream: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (length, rest) = number_at_once(stream)?;
    let length = usize::try_from(length).ok().filter(|length| (1..=255).contains(length))?;
    let (name, rest) = rest.split_at_checked(length)?;
    Some((name.to_vec(), rest.to_vec()))
}

/// The header of stages 06 on: a right one is taken and not a byte more; encoded again, it is
/// what it was.
pub fn header(stream: &[u8]) {
    let header = received(stream, Header::recv);
    assert_eq!(header, header_at_once(stream));
    if let Some((header, rest)) = header {
        assert_eq!([header.encode(), rest].concat(), stream);
    }
}

fn header_at_once(stream: &[u8]) -> Option<(Header, Vec<u8>)> {
    let (length, rest) = stream.split_first_chunk::<8>()?;
    let (size, rest) = number_at_once(rest)?;
    let (name, rest) = name_at_once(&[length, rest].concat())?;
    (size <= i64::MAX as u64).then_some((Header { size, name }, rest))
}

/// The name of a download: a plain one becomes a file, any other leaves nothing, anywhere.
pub fn name(name: &[u8]) {
    let base = tempfile::tempdir().unwrap();
    let out = base.path().join("out");
    fs::create_dir(&out).unwrap();
    let plain = (1..=255).contains(&name.len())
        && ![b".".as_slice(), b".."].contains(&name)
        && !name.iter().any(|byte| b"/\0".contains(byte));
    match Download::create(&out, name) {
        Ok(download) => {
            assert!(plain, "taken: {}", name.escape_ascii());
            assert!(entries(&out).is_empty(), "there is a name before the end");
            download.file().write_all(b"whole").unwrap();
            let path = download.land().unwrap();
            assert_eq!(path.strip_prefix(&out).unwrap().as_os_str().as_bytes(), name);
            assert_eq!(fs::read(&path).unwrap(), b"whole");
            assert_eq!(entries(&out), [name]);
        }
        Err(error) => {
            assert!(!plain, "refused: {}: {error}", name.escape_ascii());
            assert_one_clean_line(&error.to_string());
            assert!(entries(&out).is_empty(), "something was left");
        }
    }
    assert_eq!(entries(base.path()), [b"out"], "something is beside the directory");
}

fn entries(dir: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().as_bytes().to_vec()).collect()
}

/// Text for a terminal: nothing that moves the cursor, ends the line or turns the direction comes
/// out; what is harmless comes out as it was.
pub fn text(bytes: &[u8]) {
    assert_one_clean_line(&printable(bytes));
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.chars().any(is_harmful)
    {
        assert_eq!(printable(bytes), text);
    }
}

/// Control characters, the two that end a line (`Zl`, `Zp`), and those of Unicode's property
/// `Bidi_Control`.
fn is_harmful(letter: char) -> bool {
    const BIDI_CONTROL: &str = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\
                                \u{2066}\u{2067}\u{2068}\u{2069}";
    letter.is_control() || "\u{2028}\u{2029}".contains(letter) || BIDI_CONTROL.contains(letter)
}

fn assert_one_clean_line(text: &str) {
    assert!(!text.contains(is_harmful), "raw: {text:?}");
}

/// Lines: however the bytes arrive, the same lines come out, long ones in full pieces.
pub fn lines(input: &[u8], cuts: &[u8]) {
    let mut arriving = pieces(input, cuts);
    let mut waiting: &[u8] = &[];
    let mut buffer = LineBuffer::default();
    let mut lines = Vec::new();
    while !buffer.is_finished() {
        while let Some(line) = buffer.line() {
            lines.push(line.to_vec());
            buffer.consume();
        }
        let filled = buffer.fill(|room| {
            assert!(!room.is_empty(), "no line, and no room for more of one");
            if waiting.is_empty() {
                waiting = arriving.next().unwrap_or_default();
            }
            let length = waiting.len().min(room.len());
            room[..length].copy_from_slice(&waiting[..length]);
            waiting = &waiting[length..];
            Ok(length)
        });
        filled.unwrap();
    }
    let expected = lines_at_once(input);
    let lengths = |lines: &[Vec<u8>]| lines.iter().map(Vec::len).collect::<Vec<_>>();
    assert!(lines == expected, "{:?} and not {:?}", lengths(&lines), lengths(&expected));
}

fn lines_at_once(input: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    for line in input.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\n").unwrap_or(line) {
            [] => lines.push(Vec::new()),
            line => lines.extend(line.chunks(MAX_LINE).map(<[u8]>::to_vec)),
        }
    }
    lines
}

/// What a user of a chat says: it arrives byte for byte, behind the name if there is one; and a
/// name is one that can be told from the line and can't move the cursor.
pub fn speaker(first: &[u8], second: &[u8]) {
    let mut speaker = Speaker::default();
    let mut before = Vec::new();
    match speaker.hear(first) {
        Heard::Said(line) => assert_eq!(line, [first, b"\n"].concat()),
        Heard::Refused(why) => {
            assert!(first.starts_with(b"/name ") && why.starts_with(b"error: "));
            assert!(why.ends_with(b"\n"));
        }
        Heard::Named(name) => {
            let told = first.strip_prefix(b"/name ").unwrap();
            assert_eq!(told.strip_suffix(b"\r").unwrap_or(told), name.as_bytes());
            assert!((1..=32).contains(&name.chars().count()));
            assert!(!name.contains(|it: char| it == ':' || it.is_whitespace() || it.is_control()));
            text(name.as_bytes());
            before = [name.as_bytes(), b": "].concat();
        }
    }
    let said = [&before[..], second, b"\n"].concat();
    assert!(said.len() <= MAX_SAID || second.len() > MAX_LINE);
    assert_eq!(speaker.hear(second), Heard::Said(said));
}

/// A message with `count` copies of a descriptor. Afterwards [`Lent::all_closed`] tells whether
/// whoever took the message has kept one of them: as long as anybody has the writing end of a
/// pipe open, its reading end is not at its end.
struct Lent {
    reader: std::io::PipeReader,
}

impl Lent {
    fn send(to: BorrowedFd<'_>, message: &[u8], count: usize) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let descriptors: Vec<RawFd> = vec![writer.as_raw_fd(); count];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let rights = if count > 0 { &rights[..] } else { &[] };
        let data = [IoSlice::new(message)];
        let sent = sendmsg::<()>(to.as_raw_fd(), &data, rights, MsgFlags::MSG_NOSIGNAL, None);
        assert_eq!(sent.unwrap(), message.len());
        Self { reader }
    }

    fn all_closed(&self) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut fds = [PollFd::new(self.reader.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }
}

/// Any message with any number of descriptors (up to 253, the kernel allows no more), sent to
/// either end of a channel: it is what it is, or an error, or the end; and no descriptor stays.
pub fn channel(message: &[u8], count: usize) {
    worker_takes_a_task(message, count);

    let (parent, worker) = channel::pair().unwrap();
    let lent = Lent::send(parent.as_fd(), message, count);
    let mut buffer = [0; MAX_LINE + 1];
    let line = worker.recv_line(&mut buffer).unwrap();
    assert_eq!(line, message[..message.len().min(MAX_LINE + 1)].strip_suffix(b"\n"));
    assert!(lent.all_closed(), "the worker that takes lines has kept a descriptor");

    let lent = Lent::send(worker.as_fd(), message, count);
    let expected = if message.first() == Some(&b'D') { Report::Done } else { Report::Gone };
    assert_eq!(parent.recv_report(), expected);
    assert!(lent.all_closed(), "the parent that takes reports has kept a descriptor");
    assert_eq!(parent.recv_report(), Report::Nothing);

    let lent = Lent::send(worker.as_fd(), message, count);
    match parent.recv_answer() {
        Answer::Bytes(bytes) => assert_eq!(bytes, message[..message.len().min(MAX_ANSWER)]),
        Answer::Gone => assert_eq!(message, b"", "no answer"),
        Answer::Nothing => panic!("a message is nothing"),
    }
    assert!(lent.all_closed(), "the parent that takes answers has kept a descriptor");
    assert!(matches!(parent.recv_answer(), Answer::Nothing));

    drop(worker);
    assert_eq!(parent.recv_report(), Report::Gone);
    assert!(matches!(parent.recv_answer(), Answer::Gone));
}

fn worker_takes_a_task(message: &[u8], count: usize) {
    let (parent, worker) = channel::pair().unwrap();
    let lent = Lent::send(parent.as_fd(), message, count);
    let task = worker.recv_task();
    match (message.first(), count) {
        (None, _) => assert!(matches!(task, Ok(None)), "no byte: the end"),
        (Some(b'C'), 1) => {
            assert!(matches!(task, Ok(Some(Task::Connection(_)))), "a connection");
            assert!(!lent.all_closed(), "the connection is still ours");
        }
        (Some(b'L'), 0) => assert!(matches!(task, Ok(Some(Task::Leave))), "leave"),
        _ => assert_one_clean_line(&task.as_ref().err().expect("no task").to_string()),
    }
    drop(task);
    assert!(lent.all_closed(), "the worker that takes tasks has kept a descriptor");
}

/// What a target of `tests/fuzz` does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// The targets, each with the name of its folder in `tests/fuzz/corpus`.
pub const TARGETS: [Target; 7] = [
    ("chunks", |input| with_cuts(input, chunks)),
    ("records", records),
    ("header", header),
    ("name", name),
    ("text", text),
    ("lines", |input| {
        with_cuts(input, |input, cuts| {
            // Of a long line in packets of a byte each, there would be few cases a second.
            let cuts: Vec<u8> = cuts.iter().map(|cut| cut | 64).collect();
            lines(&unpacked(input), &cuts);
        });
    }),
    ("channel", |input| {
        if let [count, message @ ..] = input {
            channel(message, usize::from(*count).min(253));
        }
    }),
];

/// The first byte says how many after it are the lengths of pieces.
fn with_cuts(input: &[u8], check: impl FnOnce(&[u8], &[u8])) {
    if let [count, rest @ ..] = input {
        let (cuts, rest) = rest.split_at(rest.len().min(usize::from(count % 8)));
        check(rest, cuts);
    }
}

/// Runs of bytes, three bytes for each: which byte, and how often. So a short input can be long
/// lines.
fn unpacked(input: &[u8]) -> Vec<u8> {
    let run = |it: &[u8; 3]| vec![it[0]; usize::from(u16::from_le_bytes([it[1], it[2]])) % 8200];
    input.as_chunks().0.iter().take(3).flat_map(run).collect()
}
